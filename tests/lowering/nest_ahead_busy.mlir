// RUN: lamina opt %s -p 'open-composites,fuse,layout,kernel-to-linalg,bufferize{target=avx512},linalg-to-loops{target=avx512}' | filecheck %s

// Rows of 4 KiB, 4 MB in all. The leaf that computes exponentials asks for the next row and for the output of this one; the others,
// whose time is that of memory, for nothing: neither the maximum in front of it nor the product that writes.
// CHECK: func.func private @k0
// CHECK-NOT: kernel.prefetch
// CHECK: arith.maximumf
// CHECK: scf.for
// CHECK: kernel.prefetch written [[OUT:%[0-9]+]]
// CHECK: kernel.prefetch near
// CHECK: kernel.exp_low
// CHECK: arith.divf
// CHECK-NOT: kernel.prefetch
// CHECK: arith.maximumf
// CHECK: scf.for
// CHECK: kernel.prefetch written [[OUT]]
// CHECK: kernel.prefetch near
// CHECK: kernel.exp_low
// CHECK: vector.store %{{[0-9]+}}, [[OUT]]
// CHECK: arith.divf
// CHECK-NOT: kernel.prefetch
// CHECK: vector.store %{{[0-9]+}}, [[OUT]]
// The last leaf reads the row again, to subtract what the sum became: still the one in front of it asks, for both.
// CHECK: func.func private @k1
// CHECK-NOT: kernel.prefetch
// CHECK: arith.maximumf
// CHECK: scf.for
// CHECK: kernel.prefetch written
// CHECK: kernel.prefetch near
// CHECK: kernel.exp_low
// CHECK: math.log
// CHECK-NOT: kernel.prefetch
// CHECK: arith.maximumf
// CHECK: scf.for
// CHECK: kernel.prefetch written
// CHECK: kernel.prefetch near
// CHECK: kernel.exp_low
// CHECK: math.log
// CHECK-NOT: kernel.prefetch
// CHECK: func.func @main
func.func @main(%x: tensor<1024x1024xf32>, %y: tensor<1024x1024xf32>) -> (tensor<1024x1024xf32>, tensor<1024x1024xf32>) {
  %0 = nn.softmax %x {axes = array<i64: 1>} : (tensor<1024x1024xf32>) -> tensor<1024x1024xf32>
  %1 = nn.log_softmax %y {axes = array<i64: 1>} : (tensor<1024x1024xf32>) -> tensor<1024x1024xf32>
  func.return %0, %1 : tensor<1024x1024xf32>, tensor<1024x1024xf32>
}
