// RUN: lamina opt %s -p 'fuse,layout,kernel-to-linalg,bufferize{target=avx512},linalg-to-loops{target=avx512}' | filecheck %s

// Rows that are read twice: the output cannot be made in the operand's memory, and fills the cache that cores share.
// CHECK: func.func private @k0
// CHECK: vector.store {{.*}} {nontemporal = true}
// What may be in place is written the usual way, however large.
// CHECK: func.func private @k1
// CHECK-NOT: nontemporal
// CHECK: func.func @main
func.func @main(%x: tensor<4096x1024xf32>, %y: tensor<8192x1024xf32>) -> (tensor<4096x1024xf32>, tensor<8192x1024xf32>) {
  %0 = prim.max %x {axes = array<i64: 1>} : (tensor<4096x1024xf32>) -> tensor<4096x1xf32>
  %1 = prim.expand %0 {to = array<i64: 4096, 1024>} : (tensor<4096x1xf32>) -> tensor<4096x1024xf32>
  %2 = prim.sub %x, %1 : (tensor<4096x1024xf32>, tensor<4096x1024xf32>) -> tensor<4096x1024xf32>
  %3 = prim.mul %y, %y : (tensor<8192x1024xf32>, tensor<8192x1024xf32>) -> tensor<8192x1024xf32>
  func.return %2, %3 : tensor<4096x1024xf32>, tensor<8192x1024xf32>
}
