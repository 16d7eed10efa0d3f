// RUN: lamina opt %s -p 'fuse,layout,kernel-to-linalg,bufferize{target=avx512 keep=true}' | filecheck %s

// The weight is packed once by @k1; @k0 reads the copy. Only what is stale is packed again.
// CHECK: builtin.module attributes {lamina.arena_bytes = 0 : i64, lamina.kept = [array<i64: 1>], lamina.forms = ["{{.*}}"]}
// CHECK: func.func private @k1(%0: memref<64x128xf32>, %1: memref<8192xf32>)
// CHECK: vector.shuffle
// CHECK: func.func private @k0({{.*}}, %packed: memref<8192xf32>, {{.*}} lamina.packed = array<i64: 0, 3>
// CHECK: func.func @main(%x: memref<32x128xf32>, %w: memref<64x128xf32>, %b: memref<64xf32>, %0: memref<32x64xf32>, %packed: memref<8192xf32>, %stale: memref<1xi1>, %arena: memref<0xi8>)
// CHECK: [[CHANGED:%.*]] = memref.load %stale
// CHECK-NEXT: scf.if [[CHANGED]] {
// CHECK-NEXT: func.call @k1(%w, %packed)
// CHECK: func.call @k0(%w, %x, %b, %packed, %0)
func.func @main(%x: tensor<32x128xf32>, %w: tensor<64x128xf32>, %b: tensor<64xf32>) -> tensor<32x64xf32> {
  %0 = prim.permute %w {order = array<i64: 1, 0>} : (tensor<64x128xf32>) -> tensor<128x64xf32>
  %1 = prim.matmul %x, %0 : (tensor<32x128xf32>, tensor<128x64xf32>) -> tensor<32x64xf32>
  %2 = prim.reshape %b {to = array<i64: 1, 64>} : (tensor<64xf32>) -> tensor<1x64xf32>
  %3 = prim.expand %2 {to = array<i64: 32, 64>} : (tensor<1x64xf32>) -> tensor<32x64xf32>
  %4 = prim.add %1, %3 : (tensor<32x64xf32>, tensor<32x64xf32>) -> tensor<32x64xf32>
  func.return %4 : tensor<32x64xf32>
}
