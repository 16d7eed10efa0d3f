// RUN: lamina opt %s -p 'bufferize{target=sm_80_3xtf32},linalg-to-gpu{target=sm_80_3xtf32}' | filecheck %s
// Both factors as two numbers of 10 bits of mantissa; three products per piece, the smallest first.
builtin.module {
  func.func @main(%x: tensor<64x32xf32>, %y: tensor<64x32xf32>) -> tensor<64x64xf32> {
    %r = kernel.fused(%x, %y) : (tensor<64x32xf32>, tensor<64x32xf32>) -> tensor<64x64xf32> {
    ^bb0(%a: tensor<64x32xf32>, %b: tensor<64x32xf32>):
      %zero = arith.constant 0.000000e+00 : f32
      %e = tensor.empty() : tensor<64x64xf32>
      %f = linalg.fill ins(%zero : f32) outs(%e : tensor<64x64xf32>) -> tensor<64x64xf32>
      %p = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1)>], iterator_types = ["parallel", "parallel", "reduction"]} ins(%a, %b : tensor<64x32xf32>, tensor<64x32xf32>) outs(%f : tensor<64x64xf32>) {
      ^bb1(%0: f32, %1: f32, %acc: f32):
        %2 = arith.mulf %0, %1 : f32
        %3 = arith.addf %acc, %2 : f32
        linalg.yield %3 : f32
      } -> tensor<64x64xf32>
      kernel.yield %p : tensor<64x64xf32>
    }
    func.return %r : tensor<64x64xf32>
  }
}
// CHECK:      func.func private @k0
// CHECK:      nv.cp_async
// CHECK:      nv.cp_async_wait 1
// CHECK:      gpu.barrier
// CHECK:      nv.ldmatrix {{.*}} : memref<3840xf32, "shared">
// CHECK:      %[[X:.*]] = arith.bitcast {{.*}} : i32 to f32
// CHECK:      %[[BIG:.*]] = nv.round_tf32 %[[X]]
// CHECK:      %[[REST:.*]] = arith.subf %[[X]], %[[BIG]] : f32
// CHECK:      nv.round_tf32 %[[REST]]
// CHECK:      nv.mma_tf32
// CHECK:      nv.mma_tf32
// CHECK:      nv.mma_tf32
// CHECK-NOT:  nv.mma_tf32
// CHECK:      func.call @k0
