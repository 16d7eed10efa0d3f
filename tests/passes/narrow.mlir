// RUN: lamina opt %s -p 'narrow,simplify,dce' --check-each-pass | filecheck %s
// The input gradient of a convolution with padding 1: what falls into the padding is not computed, and pad and crop become one pad.
builtin.module {
  func.func @main(%g: tensor<2x1x4x5x5xf32>, %k: tensor<1x4x3x3x3xf32>) -> tensor<2x3x5x5xf32> {
    %0 = prim.pad %g {low = array<i64: 0, 0, 0, 2, 2>, high = array<i64: 0, 0, 0, 2, 2>, interior = array<i64: 0, 0, 0, 0, 0>, fill = 0 : i64} : (tensor<2x1x4x5x5xf32>) -> tensor<2x1x4x9x9xf32>
    %1 = prim.conv_input %0, %k {dilation = array<i64: 1, 1>} : (tensor<2x1x4x9x9xf32>, tensor<1x4x3x3x3xf32>) -> tensor<2x1x3x7x7xf32>
    %2 = prim.reshape %1 {to = array<i64: 2, 3, 7, 7>} : (tensor<2x1x3x7x7xf32>) -> tensor<2x3x7x7xf32>
    %3 = prim.slice %2 {start = array<i64: 0, 0, 1, 1>, size = array<i64: 2, 3, 5, 5>, step = array<i64: 1, 1, 1, 1>} : (tensor<2x3x7x7xf32>) -> tensor<2x3x5x5xf32>
    func.return %3 : tensor<2x3x5x5xf32>
  }
}
// CHECK:      %[[P:.*]] = prim.pad %g {low = array<i64: 0, 0, 0, 1, 1>, high = array<i64: 0, 0, 0, 1, 1>
// CHECK-NEXT: %[[C:.*]] = prim.conv_input %[[P]], %k
// CHECK-NEXT: %[[R:.*]] = prim.reshape %[[C]] {to = array<i64: 2, 3, 5, 5>}
// CHECK-NEXT: func.return %[[R]]
