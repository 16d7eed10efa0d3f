// RUN: lamina opt %s -p 'dce' --check-each-pass | filecheck %s
// Nobody reads the second carried value or the first stack; %k never changes, so every step sees it whole.
// CHECK:      %[[F:.*]], %[[S:.*]] = prim.scan %h, %xs, %k {carried = 1 : i64, scanned = 1 : i64, steps = 4 : i64, reverse = true}
// CHECK:      ^bb0(%[[A:.*]]: tensor<2xf32>, %[[X:.*]]: tensor<2xf32>, %[[K:.*]]: tensor<2xf32>)
// CHECK-NEXT: %[[N:.*]] = prim.mul %[[A]], %[[K]]
// CHECK-NEXT: %[[M:.*]] = prim.add %[[N]], %[[X]]
// CHECK-NEXT: scan.yield %[[M]], %[[M]]
// CHECK:      func.return %[[F]], %[[S]], %[[S]], %k
func.func @main(%h: tensor<2xf32>, %k: tensor<2xf32>, %c: tensor<2xf32>, %xs: tensor<4x2xf32>) -> (tensor<2xf32>, tensor<4x2xf32>, tensor<4x2xf32>, tensor<2xf32>) {
  %0, %1, %2, %3, %4, %5 = prim.scan %h, %c, %k, %xs {carried = 3 : i64, scanned = 1 : i64, steps = 4 : i64, reverse = true} : (tensor<2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<4x2xf32>) -> (tensor<2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<4x2xf32>, tensor<4x2xf32>, tensor<4x2xf32>) {
  ^bb0(%a: tensor<2xf32>, %b: tensor<2xf32>, %d: tensor<2xf32>, %x: tensor<2xf32>):
    %6 = prim.mul %a, %d : (tensor<2xf32>, tensor<2xf32>) -> tensor<2xf32>
    %7 = prim.add %6, %x : (tensor<2xf32>, tensor<2xf32>) -> tensor<2xf32>
    %8 = prim.exp %b : (tensor<2xf32>) -> tensor<2xf32>
    scan.yield %7, %8, %d, %8, %7, %7 : (tensor<2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>) -> ()
  }
  func.return %0, %4, %5, %2 : tensor<2xf32>, tensor<4x2xf32>, tensor<4x2xf32>, tensor<2xf32>
}
