// RUN: lamina opt %s -p 'fuse,layout,kernel-to-linalg,bufferize{target=avx512}' | filecheck %s

// A convolution of what was padded with zeros knows where they are; tiles are of images, which have the same taps at a pixel.
// CHECK: func.func private @k1({{.*}} lamina.margins = [array<i64: 0, 0, 1, 1, 32, 16, 7, 7>, array<i64>], lamina.plan = "{{.*}} apart=2"
// What was padded with something else has no such margin.
// CHECK: func.func private @k2(
// CHECK-NOT: lamina.margins
// CHECK: func.func @main
func.func @main(%x: tensor<32x16x7x7xf32>, %w: tensor<32x16x3x3xf32>) -> (tensor<32x1x32x7x7xf32>, tensor<32x1x32x7x7xf32>) {
  %0 = prim.pad %x {low = array<i64: 0, 0, 1, 1>, high = array<i64: 0, 0, 1, 1>, interior = array<i64: 0, 0, 0, 0>, fill = 0.0 : f64} : (tensor<32x16x7x7xf32>) -> tensor<32x16x9x9xf32>
  %1 = prim.reshape %0 {to = array<i64: 32, 1, 16, 9, 9>} : (tensor<32x16x9x9xf32>) -> tensor<32x1x16x9x9xf32>
  %2 = prim.reshape %w {to = array<i64: 1, 32, 16, 3, 3>} : (tensor<32x16x3x3xf32>) -> tensor<1x32x16x3x3xf32>
  %3 = prim.conv %1, %2 {stride = array<i64: 1, 1>, dilation = array<i64: 1, 1>} : (tensor<32x1x16x9x9xf32>, tensor<1x32x16x3x3xf32>) -> tensor<32x1x32x7x7xf32>
  %4 = prim.pad %x {low = array<i64: 0, 0, 1, 1>, high = array<i64: 0, 0, 1, 1>, interior = array<i64: 0, 0, 0, 0>, fill = 1.0 : f64} : (tensor<32x16x7x7xf32>) -> tensor<32x16x9x9xf32>
  %5 = prim.reshape %4 {to = array<i64: 32, 1, 16, 9, 9>} : (tensor<32x16x9x9xf32>) -> tensor<32x1x16x9x9xf32>
  %6 = prim.conv %5, %2 {stride = array<i64: 1, 1>, dilation = array<i64: 1, 1>} : (tensor<32x1x16x9x9xf32>, tensor<1x32x16x3x3xf32>) -> tensor<32x1x32x7x7xf32>
  func.return %3, %6 : tensor<32x1x32x7x7xf32>, tensor<32x1x32x7x7xf32>
}
