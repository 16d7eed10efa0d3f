// RUN: lamina opt %s -p 'fuse,layout' | filecheck %s

// What is written into a constant in steps lies as it does itself, channels innermost: the constant has no say.
// CHECK: kernel.fused(%x, %k) {layouts = [array<i64: 0, 1, 3, 4, 2>]} : (tensor<1x1x8x6x6xf32>, tensor<1x16x8x1x1xf32>) -> tensor<1x1x16x12x12xf32>
// CHECK: prim.conv
// CHECK: prim.update
// CHECK: kernel.fused(%0)
func.func @main(%x: tensor<1x1x8x6x6xf32>, %k: tensor<1x16x8x1x1xf32>) -> tensor<1x1x16x1x1xf32> {
  %0 = prim.conv %x, %k {stride = array<i64: 1, 1>, dilation = array<i64: 1, 1>} : (tensor<1x1x8x6x6xf32>, tensor<1x16x8x1x1xf32>) -> tensor<1x1x16x6x6xf32>
  %1 = prim.full {shape = array<i64: 1, 1, 16, 12, 12>, value = 0.0 : f64, t = f32} : () -> tensor<1x1x16x12x12xf32>
  %2 = prim.update %1, %0 {start = array<i64: 0, 0, 0, 0, 1>, step = array<i64: 1, 1, 1, 2, 2>} : (tensor<1x1x16x12x12xf32>, tensor<1x1x16x6x6xf32>) -> tensor<1x1x16x12x12xf32>
  %3 = prim.sum %2 {axes = array<i64: 3, 4>} : (tensor<1x1x16x12x12xf32>) -> tensor<1x1x16x1x1xf32>
  func.return %3 : tensor<1x1x16x1x1xf32>
}
