// RUN: lamina opt %s -p 'open-composites,fuse,layout,kernel-to-linalg,bufferize{target=avx512},linalg-to-loops{target=avx512}' | filecheck %s

// The last leaf of a row, a product and a store, is done in the loop of the next row's exponentials, behind each four vectors of them; of what
// it reads there are two, not whole pages apart (2560 floats for two rows of 1024). The first row is alone, and so is the last one's last leaf.
// CHECK: func.func private @k0
// CHECK: memref.alloca() {{.*}} memref<2560xf32>
// CHECK: kernel.exp_low
// CHECK-NOT: arith.mulf
// CHECK: arith.divf
// CHECK: scf.for {{.*}} iter_args(%{{[0-9]+}} = %{{[0-9]+}}) -> (f32)
// CHECK: kernel.exp_low
// CHECK: kernel.exp_low
// CHECK: kernel.exp_low
// CHECK: kernel.exp_low
// CHECK-NOT: kernel.exp_low
// CHECK: arith.mulf
// CHECK: scf.yield %{{.*}} : vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>
// CHECK: arith.divf
// CHECK: scf.yield %{{[0-9]+}} : f32
// CHECK: arith.mulf
// Rows of three vectors go four at a time, and follow each other as they did.
// CHECK: func.func private @k1
// CHECK-NOT: arith.remui
// CHECK: func.func @main
func.func @main(%x: tensor<1024x1024xf32>, %y: tensor<64x48xf32>) -> (tensor<1024x1024xf32>, tensor<64x48xf32>) {
  %0 = nn.softmax %x {axes = array<i64: 1>} : (tensor<1024x1024xf32>) -> tensor<1024x1024xf32>
  %1 = nn.softmax %y {axes = array<i64: 1>} : (tensor<64x48xf32>) -> tensor<64x48xf32>
  func.return %0, %1 : tensor<1024x1024xf32>, tensor<64x48xf32>
}
