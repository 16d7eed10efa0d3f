// RUN: lamina opt %s -p 'hoist,dce' --check-each-pass | filecheck %s

// A weight of bytes is widened where it is multiplied, in every step; what else is made of it alone is made in front of the loop.
// CHECK:      %[[S:.*]] = prim.sum %w
// CHECK:      prim.scan %h, %w, %[[S]]
// CHECK:      prim.cast
// CHECK-NEXT: prim.matmul
// CHECK:      scan.yield
func.func @main(%h: tensor<2x3xi32>, %w: tensor<3x3xi8>) -> tensor<2x3xi32> {
  %0 = prim.scan %h, %w {carried = 1 : i64, scanned = 0 : i64, steps = 5 : i64, reverse = false} : (tensor<2x3xi32>, tensor<3x3xi8>) -> tensor<2x3xi32> {
  ^bb0(%a: tensor<2x3xi32>, %u: tensor<3x3xi8>):
    %1 = prim.cast %u {t = i32} : (tensor<3x3xi8>) -> tensor<3x3xi32>
    %2 = prim.matmul %a, %1 : (tensor<2x3xi32>, tensor<3x3xi32>) -> tensor<2x3xi32>
    %3 = prim.sum %u {axes = array<i64: 0>} : (tensor<3x3xi8>) -> tensor<1x3xi8>
    %4 = prim.cast %3 {t = i32} : (tensor<1x3xi8>) -> tensor<1x3xi32>
    %5 = prim.expand %4 {to = array<i64: 2, 3>} : (tensor<1x3xi32>) -> tensor<2x3xi32>
    %6 = prim.sub %2, %5 : (tensor<2x3xi32>, tensor<2x3xi32>) -> tensor<2x3xi32>
    scan.yield %6 : (tensor<2x3xi32>) -> ()
  }
  func.return %0 : tensor<2x3xi32>
}
