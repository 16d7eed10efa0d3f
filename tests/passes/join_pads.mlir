// RUN: lamina opt %s -p 'join-pads' --check-each-pass | filecheck %s
// A gap is filled with zeros; what overlaps stays a sum; one sum joined does not hide the one before it.
// CHECK:      %[[Z:.*]] = prim.full {shape = array<i64: 2, 1>, value = 0.000000e+00
// CHECK-NEXT: %[[C:.*]] = prim.concat %a, %[[Z]], %b {axis = 1 : i64
// CHECK:      %[[P:.*]] = prim.pad %a
// CHECK:      %[[Q:.*]] = prim.pad %b
// CHECK:      prim.add %[[P]], %[[Q]]
// CHECK:      prim.concat %a, %{{.*}}, %b {axis = 1 : i64
// CHECK-NOT:  prim.pad
func.func @main(%a: tensor<2x3xf32>, %b: tensor<2x4xf32>) -> (tensor<2x8xf32>, tensor<2x5xf32>, tensor<2x8xf32>) {
  %0 = prim.pad %b {low = array<i64: 0, 4>, high = array<i64: 0, 0>, interior = array<i64: 0, 0>, fill = 0 : i64} : (tensor<2x4xf32>) -> tensor<2x8xf32>
  %1 = prim.pad %a {low = array<i64: 0, 0>, high = array<i64: 0, 5>, interior = array<i64: 0, 0>, fill = 0 : i64} : (tensor<2x3xf32>) -> tensor<2x8xf32>
  %2 = prim.add %0, %1 : (tensor<2x8xf32>, tensor<2x8xf32>) -> tensor<2x8xf32>
  %3 = prim.pad %a {low = array<i64: 0, 0>, high = array<i64: 0, 2>, interior = array<i64: 0, 0>, fill = 0 : i64} : (tensor<2x3xf32>) -> tensor<2x5xf32>
  %4 = prim.pad %b {low = array<i64: 0, 1>, high = array<i64: 0, 0>, interior = array<i64: 0, 0>, fill = 0 : i64} : (tensor<2x4xf32>) -> tensor<2x5xf32>
  %5 = prim.add %3, %4 : (tensor<2x5xf32>, tensor<2x5xf32>) -> tensor<2x5xf32>
  %6 = prim.pad %a {low = array<i64: 0, 0>, high = array<i64: 0, 5>, interior = array<i64: 0, 0>, fill = 0 : i64} : (tensor<2x3xf32>) -> tensor<2x8xf32>
  %7 = prim.pad %b {low = array<i64: 0, 4>, high = array<i64: 0, 0>, interior = array<i64: 0, 0>, fill = 0 : i64} : (tensor<2x4xf32>) -> tensor<2x8xf32>
  %8 = prim.add %6, %7 : (tensor<2x8xf32>, tensor<2x8xf32>) -> tensor<2x8xf32>
  func.return %2, %5, %8 : tensor<2x8xf32>, tensor<2x5xf32>, tensor<2x8xf32>
}
