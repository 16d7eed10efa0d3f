// RUN: lamina opt %s -p 'fuse' --check-each-pass | filecheck %s

// Bytes that are widened for a product are what its kernel reads, also where another kernel makes them and a view lies between.
// CHECK:      %[[Q:.*]] = kernel.fused(%x)
// CHECK-SAME: (tensor<4x8xf32>) -> tensor<4x8xui8>
// CHECK:      kernel.fused(%w, %[[Q]])
// CHECK-SAME: (tensor<6x8xi8>, tensor<4x8xui8>) -> tensor<4x6xi32>
// CHECK:      prim.cast
// CHECK:      prim.permute
// CHECK:      prim.cast
// CHECK:      prim.matmul
func.func @main(%x: tensor<4x8xf32>, %w: tensor<6x8xi8>) -> tensor<4x6xi32> {
  %0 = prim.cast %w {t = i32} : (tensor<6x8xi8>) -> tensor<6x8xi32>
  %1 = prim.permute %0 {order = array<i64: 1, 0>} : (tensor<6x8xi32>) -> tensor<8x6xi32>
  %2 = prim.abs %x : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %3 = prim.cast %2 {t = ui8} : (tensor<4x8xf32>) -> tensor<4x8xui8>
  %4 = prim.cast %3 {t = i32} : (tensor<4x8xui8>) -> tensor<4x8xi32>
  %5 = prim.matmul %4, %1 : (tensor<4x8xi32>, tensor<8x6xi32>) -> tensor<4x6xi32>
  func.return %5 : tensor<4x6xi32>
}
