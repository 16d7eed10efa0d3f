// RUN: lamina opt %s -p 'fuse,layout,kernel-to-linalg,bufferize{target=avx2},linalg-to-loops{target=avx2}' | filecheck %s

// Eight rows are read at the same places: these are read, bounded and taken apart once for four rows.
// CHECK: func.func private @k0
// CHECK: scf.for
// CHECK: scf.for
// CHECK: scf.for
// CHECK: vector.load {{.*}} : memref<64xi64>, vector<4xi64>
// CHECK: arith.minsi
// CHECK-NOT: memref<64xi64>, vector
// CHECK-NOT: arith.minsi
// CHECK-COUNT-4: vector.store
// CHECK: func.func @main
func.func @main(%x: tensor<2x8x64xf32>, %i: tensor<2x1x32xi64>) -> tensor<2x8x32xf32> {
  %0 = prim.expand %i {to = array<i64: 2, 8, 32>} : (tensor<2x1x32xi64>) -> tensor<2x8x32xi64>
  %1 = prim.gather %x, %0 {axis = 2 : i64} : (tensor<2x8x64xf32>, tensor<2x8x32xi64>) -> tensor<2x8x32xf32>
  func.return %1 : tensor<2x8x32xf32>
}
