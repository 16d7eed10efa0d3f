// RUN: lamina opt %s -p 'unroll-scans' --check-each-pass | filecheck %s
// Backwards: the last slice first, the stack in the order of the steps.
// CHECK:      prim.slice %xs {start = array<i64: 1, 0>
// CHECK:      %[[A:.*]] = prim.mul %h
// CHECK-NEXT: %[[S1:.*]] = prim.reshape %[[A]]
// CHECK-NEXT: prim.slice %xs {start = array<i64: 0, 0>
// CHECK:      %[[B:.*]] = prim.mul %[[A]]
// CHECK-NEXT: %[[S0:.*]] = prim.reshape %[[B]]
// CHECK-NEXT: %[[C:.*]] = prim.concat %[[S0]], %[[S1]]
// CHECK-NEXT: func.return %[[B]], %[[C]]
func.func @main(%h: tensor<3xf32>, %xs: tensor<2x3xf32>) -> (tensor<3xf32>, tensor<2x3xf32>) {
  %0, %1 = prim.scan %h, %xs {carried = 1 : i64, scanned = 1 : i64, steps = 2 : i64, reverse = true} : (tensor<3xf32>, tensor<2x3xf32>) -> (tensor<3xf32>, tensor<2x3xf32>) {
  ^bb0(%a: tensor<3xf32>, %x: tensor<3xf32>):
    %2 = prim.mul %a, %x : (tensor<3xf32>, tensor<3xf32>) -> tensor<3xf32>
    scan.yield %2, %2 : (tensor<3xf32>, tensor<3xf32>) -> ()
  }
  func.return %0, %1 : tensor<3xf32>, tensor<2x3xf32>
}
