// RUN: lamina opt %s -p 'sink-unwindow,dce' --check-each-pass | filecheck %s
// A pooling's gradient behind a relu: the sum and the product read windows; what others read than sums over all windows is put together.
// CHECK-LABEL: func.func @main
// CHECK:      [[G:%[0-9]+]] = prim.greater %x
// CHECK-NEXT: [[C:%[0-9]+]] = prim.window [[G]] {size = array<i64: 2, 3>, stride = array<i64: 2, 3>
// CHECK:      [[S:%[0-9]+]] = prim.select [[C]], %w, %{{[0-9]+}}
// CHECK:      [[T:%[0-9]+]] = prim.sum [[S]] {axes = array<i64: 0, 2, 3, 4, 5>} : (tensor<1x2x3x2x2x3xf32>) -> tensor<1x2x1x1x1x1xf32>
// CHECK-NEXT: prim.reshape [[T]] {to = array<i64: 1, 2, 1, 1>}
// CHECK:      [[X:%[0-9]+]] = prim.window %x
// CHECK-NEXT: [[P:%[0-9]+]] = prim.mul [[S]], [[X]]
// CHECK-NEXT: [[U:%[0-9]+]] = prim.unwindow [[P]] {to = array<i64: 6, 6>, size = array<i64: 2, 3>
// CHECK:      prim.exp [[U]]
// CHECK:      prim.max [[U]] {axes = array<i64: 1>}
// What another one puts together from windows of the same size is read in windows, too.
// CHECK:      [[A:%[0-9]+]] = prim.add %v, %v2
// CHECK-NEXT: prim.max [[A]] {axes = array<i64: 0, 1>}
// Windows that overlap, leave something out, or are read by the caller stay.
// CHECK:      [[O:%[0-9]+]] = prim.unwindow %o
// CHECK-NEXT: prim.neg [[O]]
// CHECK-NEXT: [[L:%[0-9]+]] = prim.unwindow %v {to = array<i64: 7>
// CHECK-NEXT: prim.exp [[L]]
// CHECK-NEXT: [[R:%[0-9]+]] = prim.unwindow %v {to = array<i64: 6>
// CHECK-NEXT: [[N:%[0-9]+]] = prim.neg [[R]]
// CHECK-NEXT: func.return {{.*}}[[R]], [[N]]
func.func @main(%w: tensor<1x2x3x2x2x3xf32>, %x: tensor<1x2x6x6xf32>, %v: tensor<3x2xf32>, %v2: tensor<3x2xf32>, %o: tensor<3x2xf32>) -> (tensor<1x2x1x1xf32>, tensor<1x2x6x6xf32>, tensor<1x1x6x6xf32>, tensor<1xf32>, tensor<4xf32>, tensor<7xf32>, tensor<6xf32>, tensor<6xf32>) {
  %0 = prim.unwindow %w {to = array<i64: 6, 6>, size = array<i64: 2, 3>, stride = array<i64: 2, 3>, dilation = array<i64: 1, 1>} : (tensor<1x2x3x2x2x3xf32>) -> tensor<1x2x6x6xf32>
  %1 = prim.full {shape = array<i64: 1, 2, 6, 6>, value = 0 : i64, t = f32} : () -> tensor<1x2x6x6xf32>
  %2 = prim.greater %x, %1 : (tensor<1x2x6x6xf32>, tensor<1x2x6x6xf32>) -> tensor<1x2x6x6xi1>
  %3 = prim.select %2, %0, %1 : (tensor<1x2x6x6xi1>, tensor<1x2x6x6xf32>, tensor<1x2x6x6xf32>) -> tensor<1x2x6x6xf32>
  %4 = prim.sum %3 {axes = array<i64: 0, 2, 3>} : (tensor<1x2x6x6xf32>) -> tensor<1x2x1x1xf32>
  %5 = prim.mul %3, %x : (tensor<1x2x6x6xf32>, tensor<1x2x6x6xf32>) -> tensor<1x2x6x6xf32>
  %6 = prim.exp %5 : (tensor<1x2x6x6xf32>) -> tensor<1x2x6x6xf32>
  %7 = prim.max %5 {axes = array<i64: 1>} : (tensor<1x2x6x6xf32>) -> tensor<1x1x6x6xf32>
  %8 = prim.unwindow %v {to = array<i64: 6>, size = array<i64: 2>, stride = array<i64: 2>, dilation = array<i64: 1>} : (tensor<3x2xf32>) -> tensor<6xf32>
  %9 = prim.unwindow %v2 {to = array<i64: 6>, size = array<i64: 2>, stride = array<i64: 2>, dilation = array<i64: 1>} : (tensor<3x2xf32>) -> tensor<6xf32>
  %10 = prim.add %8, %9 : (tensor<6xf32>, tensor<6xf32>) -> tensor<6xf32>
  %11 = prim.max %10 {axes = array<i64: 0>} : (tensor<6xf32>) -> tensor<1xf32>
  %12 = prim.unwindow %o {to = array<i64: 4>, size = array<i64: 2>, stride = array<i64: 1>, dilation = array<i64: 1>} : (tensor<3x2xf32>) -> tensor<4xf32>
  %13 = prim.neg %12 : (tensor<4xf32>) -> tensor<4xf32>
  %14 = prim.unwindow %v {to = array<i64: 7>, size = array<i64: 2>, stride = array<i64: 2>, dilation = array<i64: 1>} : (tensor<3x2xf32>) -> tensor<7xf32>
  %15 = prim.exp %14 : (tensor<7xf32>) -> tensor<7xf32>
  %16 = prim.unwindow %v {to = array<i64: 6>, size = array<i64: 2>, stride = array<i64: 2>, dilation = array<i64: 1>} : (tensor<3x2xf32>) -> tensor<6xf32>
  %17 = prim.neg %16 : (tensor<6xf32>) -> tensor<6xf32>
  func.return %4, %6, %7, %11, %13, %15, %16, %17 : tensor<1x2x1x1xf32>, tensor<1x2x6x6xf32>, tensor<1x1x6x6xf32>, tensor<1xf32>, tensor<4xf32>, tensor<7xf32>, tensor<6xf32>, tensor<6xf32>
}
