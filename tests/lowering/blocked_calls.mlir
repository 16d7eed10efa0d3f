// RUN: lamina opt %s -p 'open-composites,fuse,layout,kernel-to-linalg,bufferize{target=avx512}' | filecheck %s

// Scores and weights of attention (8 x 128 x 128 numbers each) never lie in memory as a whole: every task has room for one
// matrix of each, and calls the three kernels for it.
// CHECK: lamina.arena_bytes = [[BYTES:[0-9]+]]
// CHECK: func.func private @k3({{.*}}memref<1x128x16xf32>, {{.*}}memref<1x16x128xf32>, {{.*}}memref<1x128x128xf32>
// CHECK-SAME: lamina.serial
// CHECK: func.func private @k6(
// CHECK-SAME: memref<8x128x16xf32>
// CHECK: scf.parallel
// CHECK: scf.for
// CHECK: memref.view
// CHECK: func.call @k3
// CHECK: func.call @k4
// CHECK: func.call @k5
// CHECK: func.func @main
// CHECK-NOT: memref<8x128x128xf32>
// CHECK: func.call @k6
// CHECK-NOT: func.call
func.func @main(%q: tensor<8x128x16xf32>, %k: tensor<8x16x128xf32>, %v: tensor<8x128x16xf32>) -> tensor<8x128x16xf32> {
  %0 = prim.matmul %q, %k : (tensor<8x128x16xf32>, tensor<8x16x128xf32>) -> tensor<8x128x128xf32>
  %1 = nn.softmax %0 {axes = array<i64: 2>} : (tensor<8x128x128xf32>) -> tensor<8x128x128xf32>
  %2 = prim.matmul %1, %v : (tensor<8x128x128xf32>, tensor<8x128x16xf32>) -> tensor<8x128x16xf32>
  func.return %2 : tensor<8x128x16xf32>
}
