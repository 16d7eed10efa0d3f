// RUN: lamina opt %s -p 'constants,dce' --check-each-pass | filecheck %s
// Elementwise ops and views fold at any size; a fold of a huge constant stays.
builtin.module {
  func.func @main() -> (tensor<1000x1000xf32>, tensor<1x1xf32>, tensor<1x1xf32>, tensor<4xi1>) {
    %0 = prim.full {shape = array<i64: 1, 1000>, value = 2.0 : f64, t = f32} : () -> tensor<1x1000xf32>
    %1 = prim.expand %0 {to = array<i64: 1000, 1000>} : (tensor<1x1000xf32>) -> tensor<1000x1000xf32>
    %2 = prim.mul %1, %1 : (tensor<1000x1000xf32>, tensor<1000x1000xf32>) -> tensor<1000x1000xf32>
    %3 = prim.sum %0 {axes = array<i64: 1>} : (tensor<1x1000xf32>) -> tensor<1x1xf32>
    %4 = prim.sum %2 {axes = array<i64: 0, 1>} : (tensor<1000x1000xf32>) -> tensor<1x1xf32>
    %5 = prim.full {shape = array<i64: 4>, value = 3 : i64, t = i32} : () -> tensor<4xi32>
    %6 = prim.less %5, %5 : (tensor<4xi32>, tensor<4xi32>) -> tensor<4xi1>
    func.return %2, %3, %4, %6 : tensor<1000x1000xf32>, tensor<1x1xf32>, tensor<1x1xf32>, tensor<4xi1>
  }
}
// CHECK:      %[[A:.*]] = prim.full {shape = array<i64: 1000, 1000>, value = 4.000000e+00 : f64, t = f32}
// CHECK-NEXT: %[[B:.*]] = prim.full {shape = array<i64: 1, 1>, value = 2.000000e+03 : f64, t = f32}
// CHECK-NEXT: %[[C:.*]] = prim.sum %[[A]]
// CHECK-NEXT: %[[D:.*]] = prim.full {shape = array<i64: 4>, value = 0 : i64, t = i1}
// CHECK-NEXT: func.return %[[A]], %[[B]], %[[C]], %[[D]]
