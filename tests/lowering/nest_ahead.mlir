// RUN: lamina opt %s -p 'fuse,layout,kernel-to-linalg,bufferize{target=avx512},linalg-to-loops{target=avx512}' | filecheck %s

// Rows of 4 MB: the first loop that reads them asks for the memory ahead, and so does the store; what is read again is near by then.
// CHECK: func.func private @k0
// CHECK: vector.load %{{[0-9]+}}[%{{[0-9]+}}] {lamina.ahead = 512 : i64}
// CHECK: arith.maximumf
// CHECK: scf.for
// CHECK: [[X:%[0-9]+]] = vector.load %{{[0-9]+}}[%{{[0-9]+}}] : memref
// CHECK: arith.subf [[X]]
// CHECK: vector.store {{.*}} {lamina.ahead = 512 : i64}
// What fits a second-level cache, and rows that every row reads again, are near anyway.
// CHECK: func.func private @k1
// CHECK-NOT: lamina.ahead
// CHECK: func.func @main
func.func @main(%x: tensor<1024x1024xf32>, %y: tensor<64x1024xf32>) -> (tensor<1024x1024xf32>, tensor<64x1024xf32>) {
  %0 = prim.max %x {axes = array<i64: 1>} : (tensor<1024x1024xf32>) -> tensor<1024x1xf32>
  %1 = prim.expand %0 {to = array<i64: 1024, 1024>} : (tensor<1024x1xf32>) -> tensor<1024x1024xf32>
  %2 = prim.sub %x, %1 : (tensor<1024x1024xf32>, tensor<1024x1024xf32>) -> tensor<1024x1024xf32>
  %3 = prim.mul %y, %y : (tensor<64x1024xf32>, tensor<64x1024xf32>) -> tensor<64x1024xf32>
  func.return %2, %3 : tensor<1024x1024xf32>, tensor<64x1024xf32>
}
