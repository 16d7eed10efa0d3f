// RUN: lamina opt %s -p 'split-phases,dce' --check-each-pass | filecheck %s
// A bias and an activation behind a transposed convolution are added to each phase; what reads the image as a whole is not.
builtin.module {
  func.func @main(%x: tensor<1x1x2x5xf32>, %k: tensor<1x3x2x2xf32>, %b: tensor<3xf32>, %row: tensor<1x3x10xf32>) -> tensor<1x3x10xf32> {
    %0 = prim.pad %x {low = array<i64: 0, 0, 0, 1>, high = array<i64: 0, 0, 0, 1>, interior = array<i64: 0, 0, 0, 1>, fill = 0.000000e+00 : f64} : (tensor<1x1x2x5xf32>) -> tensor<1x1x2x11xf32>
    %1 = prim.conv %0, %k {stride = array<i64: 1>, dilation = array<i64: 1>} : (tensor<1x1x2x11xf32>, tensor<1x3x2x2xf32>) -> tensor<1x1x3x10xf32>
    %2 = prim.reshape %1 {to = array<i64: 1, 3, 10>} : (tensor<1x1x3x10xf32>) -> tensor<1x3x10xf32>
    %3 = prim.reshape %b {to = array<i64: 1, 3, 1>} : (tensor<3xf32>) -> tensor<1x3x1xf32>
    %4 = prim.expand %3 {to = array<i64: 1, 3, 10>} : (tensor<1x3x1xf32>) -> tensor<1x3x10xf32>
    %5 = prim.add %2, %4 : (tensor<1x3x10xf32>, tensor<1x3x10xf32>) -> tensor<1x3x10xf32>
    %6 = prim.relu %5 : (tensor<1x3x10xf32>) -> tensor<1x3x10xf32>
    %7 = prim.mul %6, %row : (tensor<1x3x10xf32>, tensor<1x3x10xf32>) -> tensor<1x3x10xf32>
    func.return %7 : tensor<1x3x10xf32>
  }
}
// CHECK:      prim.conv
// CHECK:      prim.conv
// CHECK:      prim.add {{.*}} -> tensor<1x3x5xf32>
// CHECK:      prim.add {{.*}} -> tensor<1x3x5xf32>
// CHECK:      %[[EVEN:.*]] = prim.relu {{.*}} -> tensor<1x3x5xf32>
// CHECK:      %[[ODD:.*]] = prim.relu {{.*}} -> tensor<1x3x5xf32>
// CHECK:      %[[ZERO:.*]] = prim.full
// CHECK:      %[[HALF:.*]] = prim.update %[[ZERO]], %[[EVEN]] {start = array<i64: 0, 0, 0>, step = array<i64: 1, 1, 2>}
// CHECK:      %[[WHOLE:.*]] = prim.update %[[HALF]], %[[ODD]] {start = array<i64: 0, 0, 1>, step = array<i64: 1, 1, 2>}
// CHECK:      prim.mul %[[WHOLE]], %row
