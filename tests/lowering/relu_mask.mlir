// RUN: lamina opt %s -p 'fuse,layout,kernel-to-linalg' | filecheck %s

// The mask of a relu is a comparison of what the relu read; the relu stays where its value is wanted.
// CHECK: linalg.generic
// CHECK-NOT: arith.maximumf
// CHECK: arith.cmpf ogt
// CHECK: linalg.yield
// CHECK: func.return
func.func @main(%x: tensor<4x8xf32>, %g: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %0 = prim.relu %x : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %1 = prim.full {shape = array<i64: 4, 8>, value = 0.0 : f64, t = f32} : () -> tensor<4x8xf32>
  %2 = prim.greater %0, %1 : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xi1>
  %3 = prim.select %2, %g, %1 : (tensor<4x8xi1>, tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  func.return %3 : tensor<4x8xf32>
}
