// RUN: lamina opt %s -p 'fuse,layout' | filecheck %s

// A 1x1 convolution of what has channels innermost keeps them innermost; the sum over positions then reads neighbours.
// CHECK: kernel.fused{{.*}} {layouts = [array<i64: 0, 1, 3, 4, 2>]
// CHECK: kernel.fused{{.*}} {layouts = [array<i64: 0, 1, 3, 4, 2>]
func.func @main(%x: tensor<1x1x16x18x18xf32>, %k: tensor<1x32x16x3x3xf32>, %w: tensor<1x24x32x1x1xf32>) -> tensor<1x1x24x1x1xf32> {
  %0 = prim.conv %x, %k {stride = array<i64: 1, 1>, dilation = array<i64: 1, 1>} : (tensor<1x1x16x18x18xf32>, tensor<1x32x16x3x3xf32>) -> tensor<1x1x32x16x16xf32>
  %1 = prim.conv %0, %w {stride = array<i64: 1, 1>, dilation = array<i64: 1, 1>} : (tensor<1x1x32x16x16xf32>, tensor<1x24x32x1x1xf32>) -> tensor<1x1x24x16x16xf32>
  %2 = prim.sum %1 {axes = array<i64: 3, 4>} : (tensor<1x1x24x16x16xf32>) -> tensor<1x1x24x1x1xf32>
  func.return %2 : tensor<1x1x24x1x1xf32>
}
