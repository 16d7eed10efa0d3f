// RUN: lamina opt %s -p 'fuse,layout,kernel-to-linalg,bufferize{target=avx512},linalg-to-loops{target=avx512}' | filecheck %s

// Of two large outputs the product reads one next: that one stays in the caches, the other is written past them.
// CHECK: func.func private @k0
// CHECK-SAME: lamina.read_soon = array<i64: 0>
// CHECK: vector.store %{{[0-9]+}}, %{{[0-9]+}}[%{{[0-9]+}}] : memref
// CHECK-NEXT: vector.store %{{[0-9]+}}, %{{[0-9]+}}[%{{[0-9]+}}] {nontemporal = true} : memref
func.func @main(%x: tensor<1024x1024xf32>, %w: tensor<1024x8xf32>) -> (tensor<1024x8xf32>, tensor<1024x1024xf32>) {
  %0 = prim.max %x {axes = array<i64: 1>} : (tensor<1024x1024xf32>) -> tensor<1024x1xf32>
  %1 = prim.expand %0 {to = array<i64: 1024, 1024>} : (tensor<1024x1xf32>) -> tensor<1024x1024xf32>
  %2 = prim.sub %x, %1 : (tensor<1024x1024xf32>, tensor<1024x1024xf32>) -> tensor<1024x1024xf32>
  %3 = prim.matmul %2, %w : (tensor<1024x1024xf32>, tensor<1024x8xf32>) -> tensor<1024x8xf32>
  %4 = prim.exp %2 : (tensor<1024x1024xf32>) -> tensor<1024x1024xf32>
  func.return %3, %4 : tensor<1024x8xf32>, tensor<1024x1024xf32>
}
