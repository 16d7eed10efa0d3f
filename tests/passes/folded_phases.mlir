// RUN: lamina opt %s -p 'split-phases,dce' --check-each-pass | filecheck %s
// A transposed convolution by ten with a kernel of twelve: two taps a phase, ten times three channels, four places each.
builtin.module {
  func.func @main(%x: tensor<1x1x2x3xf32>, %k: tensor<1x3x2x12xf32>) -> tensor<1x1x3x32xf32> {
    %0 = prim.pad %x {low = array<i64: 0, 0, 0, 11>, high = array<i64: 0, 0, 0, 11>, interior = array<i64: 0, 0, 0, 9>, fill = 0.000000e+00 : f64} : (tensor<1x1x2x3xf32>) -> tensor<1x1x2x43xf32>
    %1 = prim.conv %0, %k {stride = array<i64: 1>, dilation = array<i64: 1>} : (tensor<1x1x2x43xf32>, tensor<1x3x2x12xf32>) -> tensor<1x1x3x32xf32>
    func.return %1 : tensor<1x1x3x32xf32>
  }
}
// CHECK:      %[[BLOCKS:.*]] = prim.reshape {{.*}} {to = array<i64: 1, 3, 2, 2, 10>}
// CHECK:      %[[TURNED:.*]] = prim.flip %[[BLOCKS]] {axes = array<i64: 4>}
// CHECK:      %[[FRONT:.*]] = prim.permute %[[TURNED]] {order = array<i64: 0, 4, 1, 2, 3>}
// CHECK:      %[[KERNEL:.*]] = prim.reshape %[[FRONT]] {to = array<i64: 1, 30, 2, 2>}
// CHECK:      %[[MADE:.*]] = prim.conv {{.*}}, %[[KERNEL]] {stride = array<i64: 1>, dilation = array<i64: 1>}
// CHECK:      %[[BACK:.*]] = prim.permute {{.*}} {order = array<i64: 0, 1, 3, 4, 2>}
// CHECK:      prim.reshape %[[BACK]]
// CHECK-NOT:  prim.update
