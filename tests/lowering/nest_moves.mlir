// RUN: lamina opt %s -p 'fuse,layout,kernel-to-linalg,bufferize{target=avx512},linalg-to-loops{target=avx512}' | filecheck %s

// A transposed copy of 16-bit floats moves integers; a kernel that computes with them does not.
// CHECK: func.func private @k0
// CHECK: kernel.bits {{.*}} : memref<4096xbf16> to memref<4096xi16>
// CHECK: kernel.bits {{.*}} : memref<4096xbf16> to memref<4096xi16>
// CHECK: vector.load {{.*}} : memref<4096xi16>, vector<32xi16>
// CHECK: vector.shuffle
// CHECK-NOT: bf16>, vector
// CHECK: vector.store {{.*}} : memref<4096xi16>, vector<32xi16>
// CHECK: func.func private @k1
// CHECK-NOT: kernel.bits
// CHECK: vector.load {{.*}} : memref<4096xbf16>, vector<{{.*}}xbf16>
// CHECK: func.func @main
func.func @main(%x: tensor<64x64xbf16>, %y: tensor<4096xbf16>) -> (tensor<64x64xbf16>, tensor<4096xbf16>) {
  %0 = prim.permute %x {order = array<i64: 1, 0>} : (tensor<64x64xbf16>) -> tensor<64x64xbf16>
  %1 = prim.relu %y : (tensor<4096xbf16>) -> tensor<4096xbf16>
  func.return %0, %1 : tensor<64x64xbf16>, tensor<4096xbf16>
}
