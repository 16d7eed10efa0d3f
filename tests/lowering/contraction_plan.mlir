// RUN: lamina opt %s -p 'fuse,layout,kernel-to-linalg,bufferize{target=avx512}' | filecheck %s

// Every contraction says what was decided for it; a sum that is no product says nothing.
// CHECK: func.func private @k0({{.*}} lamina.plan = "side=right loop=0 lanes=16 inner=0 rows=9 vectors=3 pack=none chunks=1 block=0/1 ahead=0 stretches=1"
// CHECK: func.func private @k1(
// CHECK-NOT: lamina.plan
// CHECK: func.func @main
func.func @main(%x: tensor<45x64xf32>, %w: tensor<64x48xf32>) -> tensor<45x1xf32> {
  %0 = prim.matmul %x, %w : (tensor<45x64xf32>, tensor<64x48xf32>) -> tensor<45x48xf32>
  %1 = prim.sum %0 {axes = array<i64: 1>} : (tensor<45x48xf32>) -> tensor<45x1xf32>
  func.return %1 : tensor<45x1xf32>
}
