// RUN: lamina opt %s -p 'autodiff' --check-each-pass | filecheck %s
// Only what needs a gradient is differentiated; new ops carry the line of the op they come from.
builtin.module {
  func.func @main(%x: tensor<4x3xf32>, %w: tensor<3x5xf32>, %unused: tensor<2xf32>, %seed: tensor<4x5xf32>) -> (tensor<3x5xf32>, tensor<2xf32>) {
    %0 = prim.exp %x {origin = "m.py:1"} : (tensor<4x3xf32>) -> tensor<4x3xf32>
    %1 = prim.matmul %0, %w {origin = "m.py:2"} : (tensor<4x3xf32>, tensor<3x5xf32>) -> tensor<4x5xf32>
    %2 = prim.tanh %1 {origin = "m.py:3"} : (tensor<4x5xf32>) -> tensor<4x5xf32>
    %3, %4 = autodiff.grad %2, %seed, %w, %unused {origin = "m.py:4"} : (tensor<4x5xf32>, tensor<4x5xf32>, tensor<3x5xf32>, tensor<2xf32>) -> (tensor<3x5xf32>, tensor<2xf32>)
    func.return %3, %4 : tensor<3x5xf32>, tensor<2xf32>
  }
}
// CHECK:      %[[E:.*]] = prim.exp %x
// CHECK-NEXT: %[[Z:.*]] = prim.matmul %[[E]], %w
// CHECK-NEXT: %[[Y:.*]] = prim.tanh %[[Z]]
// CHECK-NEXT: prim.mul %[[Y]], %[[Y]] {origin = "m.py:3"}
// CHECK:      %[[G:.*]] = prim.mul %seed
// CHECK-NEXT: %[[T:.*]] = prim.permute %[[E]] {order = array<i64: 1, 0>, origin = "m.py:2"}
// CHECK-NEXT: %[[D:.*]] = prim.matmul %[[T]], %[[G]] {origin = "m.py:2"}
// CHECK-NEXT: %[[N:.*]] = prim.full {shape = array<i64: 2>, value = 0.000000e+00 : f64, t = f32, origin = "m.py:4"}
// CHECK-NEXT: func.return %[[D]], %[[N]]
// CHECK-NOT:  autodiff
