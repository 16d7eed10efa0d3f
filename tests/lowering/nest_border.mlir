// RUN: lamina opt %s -p 'fuse,layout,kernel-to-linalg,bufferize{target=avx512},linalg-to-loops{target=avx512}' | filecheck %s

// What is written between borders, and the borders, share the loop over images only: a row is one run of 14 * 32 elements.
// CHECK: func.func private @k0
// CHECK-DAG: [[ROW:%[0-9]+]] = arith.constant 448 : index
// CHECK-DAG: [[ROWS:%[0-9]+]] = arith.constant 14 : index
// CHECK: "scf.parallel"
// CHECK: scf.for %{{[0-9]+}} = %{{[0-9]+}} to [[ROWS]]
// CHECK: scf.for %{{[0-9]+}} = %{{[0-9]+}} to [[ROW]] step
// CHECK: arith.maximumf
// CHECK: vector.store
// CHECK: func.func @main
func.func @main(%x: tensor<64x14x14x32xf32>) -> tensor<64x16x16x32xf32> {
  %0 = prim.relu %x : (tensor<64x14x14x32xf32>) -> tensor<64x14x14x32xf32>
  %1 = prim.pad %0 {low = array<i64: 0, 1, 1, 0>, high = array<i64: 0, 1, 1, 0>, interior = array<i64: 0, 0, 0, 0>, fill = 0.000000e+00 : f64} : (tensor<64x14x14x32xf32>) -> tensor<64x16x16x32xf32>
  func.return %1 : tensor<64x16x16x32xf32>
}
