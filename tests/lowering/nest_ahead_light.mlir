// RUN: lamina opt %s -p 'open-composites,cse,fuse,kernel-to-linalg,bufferize{target=avx512},linalg-to-loops{target=avx512}' | filecheck %s

// A layer norm of 3 MB, no leaf of which computes for long: the sum, which comes first, asks for what its rows will be written to, the
// squares in the middle for nothing, the last one for the next two rows. The root, computed once per row, goes through no row.
// CHECK: func.func private @k0
// CHECK-NOT: kernel.prefetch
// CHECK: scf.for
// CHECK: kernel.prefetch written [[OUT:%[0-9]+]]
// CHECK-NEXT: vector.load [[IN:%[0-9]+]]
// CHECK-NEXT: arith.addf
// CHECK-NOT: arith.mulf
// CHECK: arith.divf
// CHECK-NOT: kernel.prefetch
// CHECK: math.sqrt
// CHECK-NOT: kernel.prefetch
// CHECK: scf.for
// CHECK: kernel.prefetch near [[IN]]
// CHECK-NOT: kernel.prefetch
// CHECK: vector.store %{{[0-9]+}}, [[OUT]]
// CHECK: kernel.prefetch near [[IN]]
// CHECK-NOT: kernel.prefetch
// CHECK: func.func private @k1
// Rows of 12 KB: the first cache does not hold all that. The store asks for its own.
// CHECK: math.sqrt
// CHECK: kernel.prefetch near
// CHECK: kernel.prefetch written
// CHECK: func.func @main
func.func @main(%x: tensor<1024x768xf32>, %w: tensor<768xf32>, %b: tensor<768xf32>, %y: tensor<256x3072xf32>, %v: tensor<3072xf32>, %c: tensor<3072xf32>) -> (tensor<1024x768xf32>, tensor<256x3072xf32>) {
  %0 = nn.layer_norm %x, %w, %b {axes_count = 1 : i64, eps = 1.000000e-05 : f64} : (tensor<1024x768xf32>, tensor<768xf32>, tensor<768xf32>) -> tensor<1024x768xf32>
  %1 = nn.layer_norm %y, %v, %c {axes_count = 1 : i64, eps = 1.000000e-05 : f64} : (tensor<256x3072xf32>, tensor<3072xf32>, tensor<3072xf32>) -> tensor<256x3072xf32>
  func.return %0, %1 : tensor<1024x768xf32>, tensor<256x3072xf32>
}
