// RUN: lamina opt %s -p 'fuse' --check-each-pass | filecheck %s

// A constant that updates overwrite everywhere is read by nothing, and yet an operand: where it is a result of the program as well, its
// kernel comes first, however late the last stage of that one stands.
// CHECK: func.func @main
// CHECK-NEXT: [[ZEROS:%.*]], %{{.*}} = kernel.fused
// CHECK: prim.full
// CHECK: prim.maximum
// CHECK: kernel.fused([[ZEROS]],
// CHECK: prim.update
// CHECK-NEXT: prim.update
// CHECK: func.return
func.func @main(%a: tensor<3x2xf32>, %b: tensor<3x2xf32>, %c: tensor<3x4xf32>) -> (tensor<3x4xf32>, tensor<3x4xf32>, tensor<3x4xf32>) {
  %0 = prim.full {shape = array<i64: 3, 4>, value = 0.0 : f64, t = f32} : () -> tensor<3x4xf32>
  %1 = prim.update %0, %a {start = array<i64: 0, 0>, step = array<i64: 1, 2>} : (tensor<3x4xf32>, tensor<3x2xf32>) -> tensor<3x4xf32>
  %2 = prim.update %1, %b {start = array<i64: 0, 1>, step = array<i64: 1, 2>} : (tensor<3x4xf32>, tensor<3x2xf32>) -> tensor<3x4xf32>
  %3 = prim.maximum %c, %0 : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32>
  func.return %0, %2, %3 : tensor<3x4xf32>, tensor<3x4xf32>, tensor<3x4xf32>
}
