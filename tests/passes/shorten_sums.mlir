// RUN: lamina opt %s -p 'shorten-sums' --check-each-pass | filecheck %s
// The weights are a product of two; the result is read rounded and in the order it is kept in; what was widened for a product is widened again.
// CHECK-LABEL: @main
// CHECK:      %[[Y:.*]] = prim.matmul %{{.*}}, %v
// CHECK:      %[[K:.*]] = prim.reshape %{{.*}} {to = array<i64: 3, 16>}
// CHECK:      %[[D:.*]] = prim.matmul
// CHECK-NEXT: prim.mul %[[D]], %drop
// CHECK-NEXT: %[[R:.*]] = prim.reshape %[[K]] {to = array<i64: 3, 2, 8>
// CHECK-NEXT: %[[P:.*]] = prim.permute %[[R]] {order = array<i64: 1, 0, 2>
// CHECK-NEXT: %[[C:.*]] = prim.cast %[[P]] {t = f32
// CHECK-NEXT: %[[G:.*]] = prim.cast %g {t = f32
// CHECK-NEXT: %[[M:.*]] = prim.mul %[[G]], %[[C]]
// CHECK-NEXT: prim.sum %[[M]] {axes = array<i64: 2>
// Other weights, rows of the result that are longer than the weights', another axis: those stay.
// CHECK:      prim.matmul %w, %v
// CHECK-NEXT: prim.sum %{{.*}} {axes = array<i64: 2>
// CHECK:      %[[L:.*]] = prim.mul %{{.*}}, %w
// CHECK-NEXT: prim.sum %[[L]] {axes = array<i64: 2>
// CHECK:      %[[A:.*]] = prim.mul %{{.*}}, %w
// CHECK-NEXT: prim.sum %[[A]] {axes = array<i64: 1>
func.func @main(%w: tensor<2x3x9xf32>, %drop: tensor<2x3x9xf32>, %v: tensor<2x9x8xf32>, %g: tensor<2x3x8xbf16>, %long: tensor<2x9x10xf32>, %h: tensor<2x3x10xf32>)
    -> (tensor<3x16xbf16>, tensor<2x3x1xf32>, tensor<2x3x9xf32>, tensor<2x3x8xf32>, tensor<2x3x1xf32>, tensor<2x3x10xf32>, tensor<2x3x1xf32>, tensor<2x1x9xf32>) {
  %0 = prim.mul %w, %drop : (tensor<2x3x9xf32>, tensor<2x3x9xf32>) -> tensor<2x3x9xf32>
  %1 = prim.matmul %0, %v : (tensor<2x3x9xf32>, tensor<2x9x8xf32>) -> tensor<2x3x8xf32>
  %2 = prim.cast %1 {t = bf16} : (tensor<2x3x8xf32>) -> tensor<2x3x8xbf16>
  %3 = prim.permute %2 {order = array<i64: 1, 0, 2>} : (tensor<2x3x8xbf16>) -> tensor<3x2x8xbf16>
  %4 = prim.reshape %3 {to = array<i64: 3, 16>} : (tensor<3x2x8xbf16>) -> tensor<3x16xbf16>
  %5 = prim.cast %g {t = f32} : (tensor<2x3x8xbf16>) -> tensor<2x3x8xf32>
  %6 = prim.permute %v {order = array<i64: 0, 2, 1>} : (tensor<2x9x8xf32>) -> tensor<2x8x9xf32>
  %7 = prim.matmul %5, %6 : (tensor<2x3x8xf32>, tensor<2x8x9xf32>) -> tensor<2x3x9xf32>
  %8 = prim.mul %7, %drop : (tensor<2x3x9xf32>, tensor<2x3x9xf32>) -> tensor<2x3x9xf32>
  %9 = prim.mul %w, %8 : (tensor<2x3x9xf32>, tensor<2x3x9xf32>) -> tensor<2x3x9xf32>
  %10 = prim.sum %9 {axes = array<i64: 2>} : (tensor<2x3x9xf32>) -> tensor<2x3x1xf32>
  %11 = prim.matmul %w, %v : (tensor<2x3x9xf32>, tensor<2x9x8xf32>) -> tensor<2x3x8xf32>
  %12 = prim.sum %8 {axes = array<i64: 2>} : (tensor<2x3x9xf32>) -> tensor<2x3x1xf32>
  %13 = prim.matmul %w, %long : (tensor<2x3x9xf32>, tensor<2x9x10xf32>) -> tensor<2x3x10xf32>
  %14 = prim.permute %long {order = array<i64: 0, 2, 1>} : (tensor<2x9x10xf32>) -> tensor<2x10x9xf32>
  %15 = prim.matmul %h, %14 : (tensor<2x3x10xf32>, tensor<2x10x9xf32>) -> tensor<2x3x9xf32>
  %16 = prim.mul %15, %w : (tensor<2x3x9xf32>, tensor<2x3x9xf32>) -> tensor<2x3x9xf32>
  %17 = prim.sum %16 {axes = array<i64: 2>} : (tensor<2x3x9xf32>) -> tensor<2x3x1xf32>
  %18 = prim.mul %7, %w : (tensor<2x3x9xf32>, tensor<2x3x9xf32>) -> tensor<2x3x9xf32>
  %19 = prim.sum %18 {axes = array<i64: 1>} : (tensor<2x3x9xf32>) -> tensor<2x1x9xf32>
  func.return %4, %10, %8, %11, %12, %13, %17, %19 : tensor<3x16xbf16>, tensor<2x3x1xf32>, tensor<2x3x9xf32>, tensor<2x3x8xf32>, tensor<2x3x1xf32>, tensor<2x3x10xf32>, tensor<2x3x1xf32>, tensor<2x1x9xf32>
}
