// RUN: lamina opt %s -p 'fuse,layout,kernel-to-linalg,bufferize{target=avx512},linalg-to-loops{target=avx512}' | filecheck %s

// The convolution: vector accumulators over the reduction, the epilogue on them before the only store.
// CHECK: func.func private @k1
// CHECK: scf.for {{.*}} iter_args
// CHECK: vector.broadcast {{.*}} : f32 to vector<16xf32>
// CHECK: vector.fma
// CHECK: arith.addf {{.*}} : vector<16xf32>
// CHECK: arith.maximumf {{.*}} : vector<16xf32>
// CHECK: vector.store {{.*}}vector<16xf32>
// CHECK-NOT: linalg.
// CHECK: func.func @main
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
