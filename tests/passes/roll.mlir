// RUN: lamina opt %s -p roll --check-each-pass --split-input-file | filecheck %s

// Twelve turns over rows of %x; the first starts from %h0 and makes the transpose that all of them read. What is concatenated is the stack.
// CHECK-LABEL: func.func @main
// CHECK-NOT:  prim.matmul
// CHECK:      %[[ROWS:.*]] = prim.reshape %x {to = array<i64: 12, 1, 3>
// CHECK:      %[[H:.*]], %[[ALL:.*]] = prim.scan %h0, %[[ROWS]], %w {carried = 1 : i64, scanned = 1 : i64, steps = 12 : i64, reverse = false
// CHECK:      ^bb0(%[[A:.*]]: tensor<1x3xf32>, %[[X:.*]]: tensor<1x3xf32>, %[[W:.*]]: tensor<3x3xf32>):
// CHECK:      %[[T:.*]] = prim.permute %[[W]]
// CHECK:      %[[P:.*]] = prim.matmul %[[A]], %[[T]]
// CHECK:      scan.yield %[[N:.*]], %[[N]]
// CHECK:      %[[Y:.*]] = prim.reshape %[[ALL]] {to = array<i64: 12, 3>
// CHECK:      prim.concat %[[Y]] {axis = 0 : i64
// CHECK-NOT:  prim.matmul
// CHECK:      func.return
func.func @main(%x: tensor<12x3xf32>, %h0: tensor<1x3xf32>, %w: tensor<3x3xf32>) -> (tensor<12x3xf32>, tensor<1x3xf32>) {
  %t = prim.permute %w {order = array<i64: 1, 0>} : (tensor<3x3xf32>) -> tensor<3x3xf32>
  %m0 = prim.matmul %h0, %t : (tensor<1x3xf32>, tensor<3x3xf32>) -> tensor<1x3xf32>
  %x0 = prim.slice %x {start = array<i64: 0, 0>, size = array<i64: 1, 3>, step = array<i64: 1, 1>} : (tensor<12x3xf32>) -> tensor<1x3xf32>
  %a0_0 = prim.add %m0, %x0 : (tensor<1x3xf32>, tensor<1x3xf32>) -> tensor<1x3xf32>
  %a0_1 = prim.tanh %a0_0 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a0_2 = prim.sin %a0_1 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a0_3 = prim.tanh %a0_2 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a0_4 = prim.sin %a0_3 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a0_5 = prim.tanh %a0_4 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a0_6 = prim.sin %a0_5 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a0_7 = prim.tanh %a0_6 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a0_8 = prim.sin %a0_7 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %m1 = prim.matmul %a0_8, %t : (tensor<1x3xf32>, tensor<3x3xf32>) -> tensor<1x3xf32>
  %x1 = prim.slice %x {start = array<i64: 1, 0>, size = array<i64: 1, 3>, step = array<i64: 1, 1>} : (tensor<12x3xf32>) -> tensor<1x3xf32>
  %a1_0 = prim.add %m1, %x1 : (tensor<1x3xf32>, tensor<1x3xf32>) -> tensor<1x3xf32>
  %a1_1 = prim.tanh %a1_0 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a1_2 = prim.sin %a1_1 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a1_3 = prim.tanh %a1_2 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a1_4 = prim.sin %a1_3 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a1_5 = prim.tanh %a1_4 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a1_6 = prim.sin %a1_5 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a1_7 = prim.tanh %a1_6 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a1_8 = prim.sin %a1_7 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %m2 = prim.matmul %a1_8, %t : (tensor<1x3xf32>, tensor<3x3xf32>) -> tensor<1x3xf32>
  %x2 = prim.slice %x {start = array<i64: 2, 0>, size = array<i64: 1, 3>, step = array<i64: 1, 1>} : (tensor<12x3xf32>) -> tensor<1x3xf32>
  %a2_0 = prim.add %m2, %x2 : (tensor<1x3xf32>, tensor<1x3xf32>) -> tensor<1x3xf32>
  %a2_1 = prim.tanh %a2_0 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a2_2 = prim.sin %a2_1 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a2_3 = prim.tanh %a2_2 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a2_4 = prim.sin %a2_3 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a2_5 = prim.tanh %a2_4 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a2_6 = prim.sin %a2_5 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a2_7 = prim.tanh %a2_6 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a2_8 = prim.sin %a2_7 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %m3 = prim.matmul %a2_8, %t : (tensor<1x3xf32>, tensor<3x3xf32>) -> tensor<1x3xf32>
  %x3 = prim.slice %x {start = array<i64: 3, 0>, size = array<i64: 1, 3>, step = array<i64: 1, 1>} : (tensor<12x3xf32>) -> tensor<1x3xf32>
  %a3_0 = prim.add %m3, %x3 : (tensor<1x3xf32>, tensor<1x3xf32>) -> tensor<1x3xf32>
  %a3_1 = prim.tanh %a3_0 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a3_2 = prim.sin %a3_1 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a3_3 = prim.tanh %a3_2 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a3_4 = prim.sin %a3_3 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a3_5 = prim.tanh %a3_4 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a3_6 = prim.sin %a3_5 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a3_7 = prim.tanh %a3_6 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a3_8 = prim.sin %a3_7 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %m4 = prim.matmul %a3_8, %t : (tensor<1x3xf32>, tensor<3x3xf32>) -> tensor<1x3xf32>
  %x4 = prim.slice %x {start = array<i64: 4, 0>, size = array<i64: 1, 3>, step = array<i64: 1, 1>} : (tensor<12x3xf32>) -> tensor<1x3xf32>
  %a4_0 = prim.add %m4, %x4 : (tensor<1x3xf32>, tensor<1x3xf32>) -> tensor<1x3xf32>
  %a4_1 = prim.tanh %a4_0 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a4_2 = prim.sin %a4_1 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a4_3 = prim.tanh %a4_2 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a4_4 = prim.sin %a4_3 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a4_5 = prim.tanh %a4_4 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a4_6 = prim.sin %a4_5 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a4_7 = prim.tanh %a4_6 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a4_8 = prim.sin %a4_7 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %m5 = prim.matmul %a4_8, %t : (tensor<1x3xf32>, tensor<3x3xf32>) -> tensor<1x3xf32>
  %x5 = prim.slice %x {start = array<i64: 5, 0>, size = array<i64: 1, 3>, step = array<i64: 1, 1>} : (tensor<12x3xf32>) -> tensor<1x3xf32>
  %a5_0 = prim.add %m5, %x5 : (tensor<1x3xf32>, tensor<1x3xf32>) -> tensor<1x3xf32>
  %a5_1 = prim.tanh %a5_0 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a5_2 = prim.sin %a5_1 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a5_3 = prim.tanh %a5_2 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a5_4 = prim.sin %a5_3 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a5_5 = prim.tanh %a5_4 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a5_6 = prim.sin %a5_5 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a5_7 = prim.tanh %a5_6 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a5_8 = prim.sin %a5_7 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %m6 = prim.matmul %a5_8, %t : (tensor<1x3xf32>, tensor<3x3xf32>) -> tensor<1x3xf32>
  %x6 = prim.slice %x {start = array<i64: 6, 0>, size = array<i64: 1, 3>, step = array<i64: 1, 1>} : (tensor<12x3xf32>) -> tensor<1x3xf32>
  %a6_0 = prim.add %m6, %x6 : (tensor<1x3xf32>, tensor<1x3xf32>) -> tensor<1x3xf32>
  %a6_1 = prim.tanh %a6_0 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a6_2 = prim.sin %a6_1 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a6_3 = prim.tanh %a6_2 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a6_4 = prim.sin %a6_3 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a6_5 = prim.tanh %a6_4 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a6_6 = prim.sin %a6_5 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a6_7 = prim.tanh %a6_6 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a6_8 = prim.sin %a6_7 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %m7 = prim.matmul %a6_8, %t : (tensor<1x3xf32>, tensor<3x3xf32>) -> tensor<1x3xf32>
  %x7 = prim.slice %x {start = array<i64: 7, 0>, size = array<i64: 1, 3>, step = array<i64: 1, 1>} : (tensor<12x3xf32>) -> tensor<1x3xf32>
  %a7_0 = prim.add %m7, %x7 : (tensor<1x3xf32>, tensor<1x3xf32>) -> tensor<1x3xf32>
  %a7_1 = prim.tanh %a7_0 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a7_2 = prim.sin %a7_1 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a7_3 = prim.tanh %a7_2 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a7_4 = prim.sin %a7_3 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a7_5 = prim.tanh %a7_4 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a7_6 = prim.sin %a7_5 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a7_7 = prim.tanh %a7_6 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a7_8 = prim.sin %a7_7 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %m8 = prim.matmul %a7_8, %t : (tensor<1x3xf32>, tensor<3x3xf32>) -> tensor<1x3xf32>
  %x8 = prim.slice %x {start = array<i64: 8, 0>, size = array<i64: 1, 3>, step = array<i64: 1, 1>} : (tensor<12x3xf32>) -> tensor<1x3xf32>
  %a8_0 = prim.add %m8, %x8 : (tensor<1x3xf32>, tensor<1x3xf32>) -> tensor<1x3xf32>
  %a8_1 = prim.tanh %a8_0 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a8_2 = prim.sin %a8_1 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a8_3 = prim.tanh %a8_2 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a8_4 = prim.sin %a8_3 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a8_5 = prim.tanh %a8_4 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a8_6 = prim.sin %a8_5 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a8_7 = prim.tanh %a8_6 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a8_8 = prim.sin %a8_7 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %m9 = prim.matmul %a8_8, %t : (tensor<1x3xf32>, tensor<3x3xf32>) -> tensor<1x3xf32>
  %x9 = prim.slice %x {start = array<i64: 9, 0>, size = array<i64: 1, 3>, step = array<i64: 1, 1>} : (tensor<12x3xf32>) -> tensor<1x3xf32>
  %a9_0 = prim.add %m9, %x9 : (tensor<1x3xf32>, tensor<1x3xf32>) -> tensor<1x3xf32>
  %a9_1 = prim.tanh %a9_0 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a9_2 = prim.sin %a9_1 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a9_3 = prim.tanh %a9_2 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a9_4 = prim.sin %a9_3 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a9_5 = prim.tanh %a9_4 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a9_6 = prim.sin %a9_5 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a9_7 = prim.tanh %a9_6 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a9_8 = prim.sin %a9_7 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %m10 = prim.matmul %a9_8, %t : (tensor<1x3xf32>, tensor<3x3xf32>) -> tensor<1x3xf32>
  %x10 = prim.slice %x {start = array<i64: 10, 0>, size = array<i64: 1, 3>, step = array<i64: 1, 1>} : (tensor<12x3xf32>) -> tensor<1x3xf32>
  %a10_0 = prim.add %m10, %x10 : (tensor<1x3xf32>, tensor<1x3xf32>) -> tensor<1x3xf32>
  %a10_1 = prim.tanh %a10_0 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a10_2 = prim.sin %a10_1 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a10_3 = prim.tanh %a10_2 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a10_4 = prim.sin %a10_3 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a10_5 = prim.tanh %a10_4 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a10_6 = prim.sin %a10_5 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a10_7 = prim.tanh %a10_6 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a10_8 = prim.sin %a10_7 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %m11 = prim.matmul %a10_8, %t : (tensor<1x3xf32>, tensor<3x3xf32>) -> tensor<1x3xf32>
  %x11 = prim.slice %x {start = array<i64: 11, 0>, size = array<i64: 1, 3>, step = array<i64: 1, 1>} : (tensor<12x3xf32>) -> tensor<1x3xf32>
  %a11_0 = prim.add %m11, %x11 : (tensor<1x3xf32>, tensor<1x3xf32>) -> tensor<1x3xf32>
  %a11_1 = prim.tanh %a11_0 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a11_2 = prim.sin %a11_1 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a11_3 = prim.tanh %a11_2 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a11_4 = prim.sin %a11_3 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a11_5 = prim.tanh %a11_4 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a11_6 = prim.sin %a11_5 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a11_7 = prim.tanh %a11_6 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %a11_8 = prim.sin %a11_7 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %y = prim.concat %a0_8, %a1_8, %a2_8, %a3_8, %a4_8, %a5_8, %a6_8, %a7_8, %a8_8, %a9_8, %a10_8, %a11_8 {axis = 0 : i64} : (tensor<1x3xf32>, tensor<1x3xf32>, tensor<1x3xf32>, tensor<1x3xf32>, tensor<1x3xf32>, tensor<1x3xf32>, tensor<1x3xf32>, tensor<1x3xf32>, tensor<1x3xf32>, tensor<1x3xf32>, tensor<1x3xf32>, tensor<1x3xf32>) -> tensor<12x3xf32>
  func.return %y, %a11_8 : tensor<12x3xf32>, tensor<1x3xf32>
}

// -----

// Steps that do not repeat themselves stay.
// CHECK-LABEL: func.func @main
// CHECK-NOT:  prim.scan
// CHECK:      func.return
func.func @main(%h0: tensor<1x3xf32>) -> tensor<1x3xf32> {
  %b0_0 = prim.tanh %h0 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b0_1 = prim.sin %b0_0 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b0_2 = prim.tanh %b0_1 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b0_3 = prim.tanh %b0_2 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b0_4 = prim.sin %b0_3 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b0_5 = prim.tanh %b0_4 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b0_6 = prim.sin %b0_5 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b0_7 = prim.tanh %b0_6 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b0_8 = prim.tanh %b0_7 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b0_9 = prim.sin %b0_8 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b0_10 = prim.tanh %b0_9 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b0_11 = prim.sin %b0_10 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b0_12 = prim.tanh %b0_11 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b0_13 = prim.tanh %b0_12 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b1_0 = prim.tanh %b0_13 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b1_1 = prim.tanh %b1_0 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b1_2 = prim.sin %b1_1 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b1_3 = prim.tanh %b1_2 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b1_4 = prim.tanh %b1_3 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b1_5 = prim.tanh %b1_4 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b1_6 = prim.tanh %b1_5 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b1_7 = prim.sin %b1_6 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b1_8 = prim.tanh %b1_7 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b1_9 = prim.tanh %b1_8 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b1_10 = prim.tanh %b1_9 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b1_11 = prim.tanh %b1_10 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b1_12 = prim.sin %b1_11 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b1_13 = prim.tanh %b1_12 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b2_0 = prim.tanh %b1_13 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b2_1 = prim.sin %b2_0 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b2_2 = prim.sin %b2_1 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b2_3 = prim.tanh %b2_2 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b2_4 = prim.tanh %b2_3 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b2_5 = prim.tanh %b2_4 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b2_6 = prim.sin %b2_5 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b2_7 = prim.sin %b2_6 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b2_8 = prim.tanh %b2_7 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b2_9 = prim.tanh %b2_8 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b2_10 = prim.tanh %b2_9 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b2_11 = prim.sin %b2_10 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b2_12 = prim.sin %b2_11 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b2_13 = prim.tanh %b2_12 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b3_0 = prim.tanh %b2_13 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b3_1 = prim.tanh %b3_0 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b3_2 = prim.tanh %b3_1 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b3_3 = prim.sin %b3_2 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b3_4 = prim.sin %b3_3 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b3_5 = prim.tanh %b3_4 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b3_6 = prim.tanh %b3_5 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b3_7 = prim.tanh %b3_6 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b3_8 = prim.sin %b3_7 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b3_9 = prim.sin %b3_8 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b3_10 = prim.tanh %b3_9 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b3_11 = prim.tanh %b3_10 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b3_12 = prim.tanh %b3_11 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b3_13 = prim.sin %b3_12 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b4_0 = prim.tanh %b3_13 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b4_1 = prim.tanh %b4_0 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b4_2 = prim.tanh %b4_1 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b4_3 = prim.sin %b4_2 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b4_4 = prim.tanh %b4_3 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b4_5 = prim.tanh %b4_4 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b4_6 = prim.tanh %b4_5 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b4_7 = prim.tanh %b4_6 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b4_8 = prim.sin %b4_7 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b4_9 = prim.tanh %b4_8 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b4_10 = prim.tanh %b4_9 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b4_11 = prim.tanh %b4_10 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b4_12 = prim.tanh %b4_11 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b4_13 = prim.sin %b4_12 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b5_0 = prim.tanh %b4_13 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b5_1 = prim.sin %b5_0 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b5_2 = prim.tanh %b5_1 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b5_3 = prim.tanh %b5_2 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b5_4 = prim.sin %b5_3 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b5_5 = prim.tanh %b5_4 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b5_6 = prim.sin %b5_5 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b5_7 = prim.tanh %b5_6 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b5_8 = prim.tanh %b5_7 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b5_9 = prim.sin %b5_8 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b5_10 = prim.tanh %b5_9 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b5_11 = prim.sin %b5_10 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b5_12 = prim.tanh %b5_11 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b5_13 = prim.tanh %b5_12 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b6_0 = prim.tanh %b5_13 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b6_1 = prim.tanh %b6_0 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b6_2 = prim.sin %b6_1 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b6_3 = prim.tanh %b6_2 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b6_4 = prim.tanh %b6_3 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b6_5 = prim.tanh %b6_4 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b6_6 = prim.tanh %b6_5 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b6_7 = prim.sin %b6_6 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b6_8 = prim.tanh %b6_7 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b6_9 = prim.tanh %b6_8 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b6_10 = prim.tanh %b6_9 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b6_11 = prim.tanh %b6_10 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b6_12 = prim.sin %b6_11 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b6_13 = prim.tanh %b6_12 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b7_0 = prim.tanh %b6_13 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b7_1 = prim.sin %b7_0 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b7_2 = prim.sin %b7_1 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b7_3 = prim.tanh %b7_2 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b7_4 = prim.tanh %b7_3 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b7_5 = prim.tanh %b7_4 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b7_6 = prim.sin %b7_5 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b7_7 = prim.sin %b7_6 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b7_8 = prim.tanh %b7_7 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b7_9 = prim.tanh %b7_8 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b7_10 = prim.tanh %b7_9 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b7_11 = prim.sin %b7_10 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b7_12 = prim.sin %b7_11 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  %b7_13 = prim.tanh %b7_12 : (tensor<1x3xf32>) -> tensor<1x3xf32>
  func.return %b7_13 : tensor<1x3xf32>
}
