// RUN: lamina opt %s -p 'cse' --check-each-pass | filecheck %s
builtin.module {
  func.func @main(%x: tensor<4xf32>, %y: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>, tensor<4xf32>) {
    %0 = prim.mul %x, %y {origin = "m.py:1"} : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
    %1 = prim.mul %y, %x {origin = "m.py:2"} : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
    %2 = prim.sub %0, %x : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
    %3 = prim.sub %x, %1 : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
    %4 = prim.full {shape = array<i64: 4>, value = 0.0 : f64, t = f32} : () -> tensor<4xf32>
    %5 = prim.full {shape = array<i64: 4>, value = -0.0 : f64, t = f32} : () -> tensor<4xf32>
    %6 = prim.div %4, %5 : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
    func.return %2, %3, %6 : tensor<4xf32>, tensor<4xf32>, tensor<4xf32>
  }
}
// CHECK:      %[[M:.*]] = prim.mul %x, %y {origin = "m.py:1"}
// CHECK-NEXT: %[[A:.*]] = prim.sub %[[M]], %x
// CHECK-NEXT: %[[B:.*]] = prim.sub %x, %[[M]]
// CHECK-NEXT: prim.full {shape = array<i64: 4>, value = 0.000000e+00
// CHECK-NEXT: prim.full {shape = array<i64: 4>, value = -0.000000e+00
