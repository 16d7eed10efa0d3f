// RUN: lamina opt %s -p 'autodiff,cse,dce' --check-each-pass | filecheck %s

// The derivative of a scan is a scan that walks back. What it reads of the forward steps is stacked by the one forward scan:
// the carried value before each step, and the value after it. The cotangent of w, which every step sees, is carried.
// CHECK:      %[[F:.*]], %[[YS:.*]], %[[H:.*]] = prim.scan %h, %xs, %w {carried = 1 : i64, scanned = 1 : i64, steps = 5 : i64, reverse = false, origin = "rnn.py:4"}
// CHECK-SAME: -> (tensor<2x3xf32>, tensor<5x2x3xf32>, tensor<5x2x3xf32>)
// CHECK:      ^bb0(%[[A:.*]]: tensor<2x3xf32>, %{{.*}}: tensor<2x3xf32>, %{{.*}}: tensor<3x3xf32>)
// CHECK:      %[[N:.*]] = prim.tanh
// CHECK-NEXT: scan.yield %[[N]], %[[N]], %[[A]]
// CHECK:      %[[DH:.*]], %[[DW:.*]], %[[DX:.*]] = prim.scan %{{.*}}, %{{.*}}, %seed, %[[H]], %[[YS]], %w {carried = 2 : i64, scanned = 3 : i64, steps = 5 : i64, reverse = true, origin = "rnn.py:4"}
// CHECK-NOT:  prim.tanh
// CHECK:      func.return %[[DH]], %[[DX]], %[[DW]]
func.func @main(%h: tensor<2x3xf32>, %xs: tensor<5x2x3xf32>, %w: tensor<3x3xf32>, %seed: tensor<5x2x3xf32>) -> (tensor<2x3xf32>, tensor<5x2x3xf32>, tensor<3x3xf32>) {
  %0, %ys = prim.scan %h, %xs, %w {carried = 1 : i64, scanned = 1 : i64, steps = 5 : i64, reverse = false, origin = "rnn.py:4"} : (tensor<2x3xf32>, tensor<5x2x3xf32>, tensor<3x3xf32>) -> (tensor<2x3xf32>, tensor<5x2x3xf32>) {
  ^bb0(%a: tensor<2x3xf32>, %x: tensor<2x3xf32>, %u: tensor<3x3xf32>):
    %1 = prim.matmul %a, %u : (tensor<2x3xf32>, tensor<3x3xf32>) -> tensor<2x3xf32>
    %2 = prim.add %1, %x : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
    %3 = prim.tanh %2 : (tensor<2x3xf32>) -> tensor<2x3xf32>
    scan.yield %3, %3 : (tensor<2x3xf32>, tensor<2x3xf32>) -> ()
  }
  %dh, %dx, %dw = autodiff.grad %ys, %seed, %h, %xs, %w : (tensor<5x2x3xf32>, tensor<5x2x3xf32>, tensor<2x3xf32>, tensor<5x2x3xf32>, tensor<3x3xf32>) -> (tensor<2x3xf32>, tensor<5x2x3xf32>, tensor<3x3xf32>)
  func.return %dh, %dx, %dw : tensor<2x3xf32>, tensor<5x2x3xf32>, tensor<3x3xf32>
}
