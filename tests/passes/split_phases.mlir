// RUN: lamina opt %s -p 'split-phases,dce' --check-each-pass | filecheck %s
// A transposed convolution by two: even results meet the middle tap, odd ones the two at the ends.
builtin.module {
  func.func @main(%x: tensor<1x1x2x5xf32>, %k: tensor<1x3x2x3xf32>) -> tensor<1x1x3x9xf32> {
    %0 = prim.pad %x {low = array<i64: 0, 0, 0, 1>, high = array<i64: 0, 0, 0, 1>, interior = array<i64: 0, 0, 0, 1>, fill = 0.000000e+00 : f64} : (tensor<1x1x2x5xf32>) -> tensor<1x1x2x11xf32>
    %1 = prim.conv %0, %k {stride = array<i64: 1>, dilation = array<i64: 1>} : (tensor<1x1x2x11xf32>, tensor<1x3x2x3xf32>) -> tensor<1x1x3x9xf32>
    func.return %1 : tensor<1x1x3x9xf32>
  }
}
// CHECK-NOT:  prim.pad
// CHECK:      %[[MIDDLE:.*]] = prim.slice %k {start = array<i64: 0, 0, 0, 1>, size = array<i64: 1, 3, 2, 1>, step = array<i64: 1, 1, 1, 2>}
// CHECK:      %[[EVEN:.*]] = prim.conv %x, %[[MIDDLE]] {{.*}} -> tensor<1x1x3x5xf32>
// CHECK:      %[[ENDS:.*]] = prim.slice %k {start = array<i64: 0, 0, 0, 0>, size = array<i64: 1, 3, 2, 2>, step = array<i64: 1, 1, 1, 2>}
// CHECK:      %[[ODD:.*]] = prim.conv %x, %[[ENDS]] {{.*}} -> tensor<1x1x3x4xf32>
// CHECK:      %[[ZERO:.*]] = prim.full
// CHECK:      %[[HALF:.*]] = prim.update %[[ZERO]], %[[EVEN]] {start = array<i64: 0, 0, 0, 0>, step = array<i64: 1, 1, 1, 2>}
// CHECK:      prim.update %[[HALF]], %[[ODD]] {start = array<i64: 0, 0, 0, 1>, step = array<i64: 1, 1, 1, 2>}
