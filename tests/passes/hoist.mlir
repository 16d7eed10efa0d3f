// RUN: lamina opt %s -p 'hoist,simplify,dce' --check-each-pass | filecheck %s

// The scaled weight is made once, in front of the loop; its transpose costs nothing and stays; so does the expand of %b, which only grows. The sum of products
// over the steps leaves the loop as one contraction over steps and rows; the sum of %d is stacked already.
// CHECK:      %[[T:.*]] = prim.exp %w
// CHECK:      %[[H:.*]], %[[D:.*]], %[[PREV:.*]] = prim.scan %h, %xs, %b, %[[T]] {carried = 1 : i64, scanned = 1 : i64
// CHECK:      prim.permute
// CHECK:      prim.matmul
// CHECK:      prim.expand
// CHECK-NOT:  prim.matmul
// CHECK:      scan.yield
// CHECK:      %[[P:.*]] = prim.reshape %[[PREV]] {to = array<i64: 10, 3>}
// CHECK:      %[[A:.*]] = prim.permute %[[P]]
// CHECK:      %[[B:.*]] = prim.reshape %[[D]] {to = array<i64: 10, 4>}
// CHECK:      %[[G:.*]] = prim.matmul %[[A]], %[[B]]
// CHECK-NEXT: prim.add %g, %[[G]]
// CHECK:      func.return
func.func @main(%h: tensor<2x3xf32>, %g: tensor<3x4xf32>, %xs: tensor<5x2x4xf32>, %w: tensor<4x3xf32>, %b: tensor<1x4xf32>, %v: tensor<4x3xf32>) -> (tensor<2x3xf32>, tensor<3x4xf32>, tensor<5x2x4xf32>) {
  %0, %1, %2 = prim.scan %h, %g, %xs, %w, %b {carried = 2 : i64, scanned = 1 : i64, steps = 5 : i64, reverse = false} : (tensor<2x3xf32>, tensor<3x4xf32>, tensor<5x2x4xf32>, tensor<4x3xf32>, tensor<1x4xf32>) -> (tensor<2x3xf32>, tensor<3x4xf32>, tensor<5x2x4xf32>) {
  ^bb0(%a: tensor<2x3xf32>, %sum: tensor<3x4xf32>, %x: tensor<2x4xf32>, %u: tensor<4x3xf32>, %c: tensor<1x4xf32>):
    %e = prim.exp %u : (tensor<4x3xf32>) -> tensor<4x3xf32>
    %t = prim.permute %e {order = array<i64: 1, 0>} : (tensor<4x3xf32>) -> tensor<3x4xf32>
    %3 = prim.matmul %a, %t : (tensor<2x3xf32>, tensor<3x4xf32>) -> tensor<2x4xf32>
    %4 = prim.expand %c {to = array<i64: 2, 4>} : (tensor<1x4xf32>) -> tensor<2x4xf32>
    %5 = prim.add %3, %4 : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
    %d = prim.mul %5, %x : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
    %n = prim.slice %d {start = array<i64: 0, 0>, size = array<i64: 2, 3>, step = array<i64: 1, 1>} : (tensor<2x4xf32>) -> tensor<2x3xf32>
    %6 = prim.permute %a {order = array<i64: 1, 0>} : (tensor<2x3xf32>) -> tensor<3x2xf32>
    %7 = prim.matmul %6, %d : (tensor<3x2xf32>, tensor<2x4xf32>) -> tensor<3x4xf32>
    %8 = prim.add %sum, %7 : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32>
    scan.yield %n, %8, %d : (tensor<2x3xf32>, tensor<3x4xf32>, tensor<2x4xf32>) -> ()
  }
  func.return %0, %1, %2 : tensor<2x3xf32>, tensor<3x4xf32>, tensor<5x2x4xf32>
}
