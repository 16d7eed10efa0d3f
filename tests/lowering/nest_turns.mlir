// RUN: lamina opt %s -p 'fuse,layout,kernel-to-linalg,bufferize{target=avx512},linalg-to-loops{target=avx512}' | filecheck %s

// A depthwise convolution with channels innermost: the kernel (9 numbers per channel) is turned once, then read as vectors.
// CHECK: func.func private @k0
// CHECK: vector.insert
// CHECK: scf.for
// CHECK: scf.for
// CHECK: [[X:%.*]] = vector.load
// CHECK: [[K:%.*]] = vector.load
// CHECK: math.fma [[X]], [[K]]
// CHECK: func.func @main
func.func @main(%x: tensor<1x10x10x32xf32>, %k: tensor<32x1x1x3x3xf32>) -> tensor<1x8x8x32xf32> {
  %0 = prim.permute %x {order = array<i64: 0, 3, 1, 2>} : (tensor<1x10x10x32xf32>) -> tensor<1x32x10x10xf32>
  %1 = prim.reshape %0 {to = array<i64: 1, 32, 1, 10, 10>} : (tensor<1x32x10x10xf32>) -> tensor<1x32x1x10x10xf32>
  %2 = prim.conv %1, %k {stride = array<i64: 1, 1>, dilation = array<i64: 1, 1>} : (tensor<1x32x1x10x10xf32>, tensor<32x1x1x3x3xf32>) -> tensor<1x32x1x8x8xf32>
  %3 = prim.reshape %2 {to = array<i64: 1, 32, 8, 8>} : (tensor<1x32x1x8x8xf32>) -> tensor<1x32x8x8xf32>
  %4 = prim.permute %3 {order = array<i64: 0, 2, 3, 1>} : (tensor<1x32x8x8xf32>) -> tensor<1x8x8x32xf32>
  func.return %4 : tensor<1x8x8x32xf32>
}
