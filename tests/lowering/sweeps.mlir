// RUN: lamina opt %s -p 'fuse,layout,kernel-to-linalg,bufferize{target=avx512},linalg-to-loops{target=avx512}' | filecheck %s

// A kernel begins where the one before left off; the one behind it goes the other way again.
// CHECK: func.func private @k0({{.*}} lamina.outputs = 1 : i64} {
// CHECK: func.func private @k1({{.*}} lamina.backwards
// CHECK: [[LAST:%[0-9]+]] = arith.subi {{.*}} : index
// CHECK-NEXT: "scf.parallel"
// CHECK-NEXT: ([[TASK:%[0-9]+]]: index)
// CHECK-NEXT: arith.subi [[LAST]], [[TASK]] : index
// CHECK: func.func private @k2({{.*}} lamina.outputs = 1 : i64} {
// CHECK: func.func @main
func.func @main(%x: tensor<1024x64x16xf32>) -> (tensor<1x64x1xf32>, tensor<1x64x1xf32>, tensor<1024x64x16xf32>) {
  %0 = prim.sum %x {axes = array<i64: 0, 2>} : (tensor<1024x64x16xf32>) -> tensor<1x64x1xf32>
  %1 = prim.expand %0 {to = array<i64: 1024, 64, 16>} : (tensor<1x64x1xf32>) -> tensor<1024x64x16xf32>
  %2 = prim.sub %x, %1 : (tensor<1024x64x16xf32>, tensor<1024x64x16xf32>) -> tensor<1024x64x16xf32>
  %3 = prim.mul %2, %2 : (tensor<1024x64x16xf32>, tensor<1024x64x16xf32>) -> tensor<1024x64x16xf32>
  %4 = prim.sum %3 {axes = array<i64: 0, 2>} : (tensor<1024x64x16xf32>) -> tensor<1x64x1xf32>
  %5 = prim.expand %4 {to = array<i64: 1024, 64, 16>} : (tensor<1x64x1xf32>) -> tensor<1024x64x16xf32>
  %6 = prim.mul %2, %5 : (tensor<1024x64x16xf32>, tensor<1024x64x16xf32>) -> tensor<1024x64x16xf32>
  func.return %0, %4, %6 : tensor<1x64x1xf32>, tensor<1x64x1xf32>, tensor<1024x64x16xf32>
}
