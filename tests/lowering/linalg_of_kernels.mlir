// RUN: lamina opt %s -p 'fuse,layout,kernel-to-linalg' | filecheck %s

// A pad is a place: fill, then write the inner box.
// CHECK: linalg.fill
// CHECK-NEXT: tensor.extract_slice %{{.*}}[0, 0, 1, 1] [2, 3, 8, 8] [1, 1, 1, 1]
// CHECK: tensor.insert_slice

// A convolution is a sum over index maps; bias and relu are a stage that reads it at its own index.
// CHECK: (d0, d4, (d2 + d5), (d3 + d6))
// CHECK-SAME: iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction", "reduction"]
// CHECK-SAME: origin = "model.py:7"
// CHECK: arith.mulf
// CHECK-NEXT: arith.addf
// CHECK: affine_map<(d0, d1, d2, d3) -> (d1)>
// CHECK: arith.addf
// CHECK: arith.maximumf
// CHECK-NOT: prim.
// CHECK: func.return
func.func @main(%x: tensor<2x3x8x8xf32>, %k: tensor<16x3x3x3xf32>, %b: tensor<16xf32>) -> tensor<2x16x1x1xf32> {
  %0 = prim.pad %x {low = array<i64: 0, 0, 1, 1>, high = array<i64: 0, 0, 1, 1>, interior = array<i64: 0, 0, 0, 0>, fill = 0.0 : f64} : (tensor<2x3x8x8xf32>) -> tensor<2x3x10x10xf32>
  %1 = prim.reshape %0 {to = array<i64: 2, 1, 3, 10, 10>} : (tensor<2x3x10x10xf32>) -> tensor<2x1x3x10x10xf32>
  %2 = prim.reshape %k {to = array<i64: 1, 16, 3, 3, 3>} : (tensor<16x3x3x3xf32>) -> tensor<1x16x3x3x3xf32>
  %3 = prim.conv %1, %2 {stride = array<i64: 1, 1>, dilation = array<i64: 1, 1>, origin = "model.py:7"} : (tensor<2x1x3x10x10xf32>, tensor<1x16x3x3x3xf32>) -> tensor<2x1x16x8x8xf32>
  %4 = prim.reshape %3 {to = array<i64: 2, 16, 8, 8>} : (tensor<2x1x16x8x8xf32>) -> tensor<2x16x8x8xf32>
  %5 = prim.reshape %b {to = array<i64: 1, 16, 1, 1>} : (tensor<16xf32>) -> tensor<1x16x1x1xf32>
  %6 = prim.expand %5 {to = array<i64: 2, 16, 8, 8>} : (tensor<1x16x1x1xf32>) -> tensor<2x16x8x8xf32>
  %7 = prim.add %4, %6 : (tensor<2x16x8x8xf32>, tensor<2x16x8x8xf32>) -> tensor<2x16x8x8xf32>
  %8 = prim.relu %7 : (tensor<2x16x8x8xf32>) -> tensor<2x16x8x8xf32>
  %9 = prim.sum %8 {axes = array<i64: 2, 3>} : (tensor<2x16x8x8xf32>) -> tensor<2x16x1x1xf32>
  func.return %9 : tensor<2x16x1x1xf32>
}
