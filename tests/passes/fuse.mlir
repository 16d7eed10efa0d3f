// RUN: lamina opt %s -p 'fuse' | filecheck %s

// Elementwise ops and a broadcast are one kernel; the views in it cost nothing.
// CHECK: func.func @main
// CHECK-NEXT: %{{.*}} = kernel.fused(%{{.*}}, %{{.*}}) : (tensor<1x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32> {
// CHECK: prim.expand
// CHECK-NEXT: prim.mul
// CHECK-NEXT: prim.relu %{{.*}} {kernel.stage}
// CHECK-NEXT: kernel.yield
// CHECK: func.return
func.func @main(%x: tensor<4x8xf32>, %b: tensor<1x8xf32>) -> tensor<4x8xf32> {
  %0 = prim.expand %b {to = array<i64: 4, 8>} : (tensor<1x8xf32>) -> tensor<4x8xf32>
  %1 = prim.mul %x, %0 : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %2 = prim.relu %1 : (tensor<4x8xf32>) -> tensor<4x8xf32>
  func.return %2 : tensor<4x8xf32>
}
