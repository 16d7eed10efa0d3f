// RUN: lamina opt %s -p 'simplify' --check-each-pass | filecheck %s
// RUN: lamina opt %s -p 'simplify{fast=true}' --check-each-pass | filecheck %s --check-prefix=FAST
builtin.module {
  func.func @main(%x: tensor<4x1xf32>, %y: tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x1xf32>, tensor<32xf32>) {
    %0 = prim.expand %x {to = array<i64: 4, 8>} : (tensor<4x1xf32>) -> tensor<4x8xf32>
    %1 = prim.neg %y : (tensor<4x8xf32>) -> tensor<4x8xf32>
    %2 = prim.add %0, %1 : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
    %3 = prim.sum %0 {axes = array<i64: 1>} : (tensor<4x8xf32>) -> tensor<4x1xf32>
    %4 = prim.reshape %y {to = array<i64: 2, 2, 8>} : (tensor<4x8xf32>) -> tensor<2x2x8xf32>
    %5 = prim.reshape %4 {to = array<i64: 32>} : (tensor<2x2x8xf32>) -> tensor<32xf32>
    func.return %2, %3, %5 : tensor<4x8xf32>, tensor<4x1xf32>, tensor<32xf32>
  }
}
// CHECK:      %[[X:.*]] = prim.expand %x
// CHECK-NEXT: %[[A:.*]] = prim.sub %[[X]], %y
// CHECK-NEXT: %[[S:.*]] = prim.sum %[[X]]
// CHECK-NEXT: %[[R:.*]] = prim.reshape %y {to = array<i64: 32>}
// CHECK-NEXT: func.return %[[A]], %[[S]], %[[R]]

// FAST:      %[[X:.*]] = prim.expand %x
// FAST-NEXT: %[[A:.*]] = prim.sub %[[X]], %y
// FAST-NEXT: %[[C:.*]] = prim.full {shape = array<i64: 4, 1>, value = 8 : i64, t = f32}
// FAST-NEXT: %[[S:.*]] = prim.mul %x, %[[C]]
// FAST-NOT:  prim.sum
