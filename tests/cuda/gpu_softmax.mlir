// RUN: lamina opt %s -p 'bufferize{target=sm_90a},linalg-to-gpu{target=sm_90a}' | filecheck %s
// A row of 1000 per warp: lanes fold their share in 16-byte accesses, shuffles combine, the exponentials wait in shared memory.
builtin.module {
  func.func @main(%x: tensor<640x1000xf32>) -> tensor<640x1000xf32> {
    %y = kernel.fused(%x) : (tensor<640x1000xf32>) -> tensor<640x1000xf32> {
    ^bb0(%a: tensor<640x1000xf32>):
      %lowest = arith.constant 0xFF800000 : f32
      %zero = arith.constant 0.000000e+00 : f32
      %e0 = tensor.empty() : tensor<640x1xf32>
      %f0 = linalg.fill ins(%lowest : f32) outs(%e0 : tensor<640x1xf32>) -> tensor<640x1xf32>
      %max = linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, 0)>], iterator_types = ["parallel", "reduction"]} ins(%a : tensor<640x1000xf32>) outs(%f0 : tensor<640x1xf32>) {
      ^bb1(%0: f32, %acc: f32):
        %1 = arith.maximumf %acc, %0 : f32
        linalg.yield %1 : f32
      } -> tensor<640x1xf32>
      %e1 = tensor.empty() : tensor<640x1000xf32>
      %ex = linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, 0)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]} ins(%a, %max : tensor<640x1000xf32>, tensor<640x1xf32>) outs(%e1 : tensor<640x1000xf32>) {
      ^bb1(%0: f32, %1: f32, %2: f32):
        %3 = arith.subf %0, %1 : f32
        %4 = math.exp %3 : f32
        linalg.yield %4 : f32
      } -> tensor<640x1000xf32>
      %e2 = tensor.empty() : tensor<640x1xf32>
      %f2 = linalg.fill ins(%zero : f32) outs(%e2 : tensor<640x1xf32>) -> tensor<640x1xf32>
      %sum = linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, 0)>], iterator_types = ["parallel", "reduction"]} ins(%ex : tensor<640x1000xf32>) outs(%f2 : tensor<640x1xf32>) {
      ^bb1(%0: f32, %acc: f32):
        %1 = arith.addf %acc, %0 : f32
        linalg.yield %1 : f32
      } -> tensor<640x1xf32>
      %e3 = tensor.empty() : tensor<640x1000xf32>
      %r = linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, 0)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]} ins(%ex, %sum : tensor<640x1000xf32>, tensor<640x1xf32>) outs(%e3 : tensor<640x1000xf32>) {
      ^bb1(%0: f32, %1: f32, %2: f32):
        %3 = arith.divf %0, %1 : f32
        linalg.yield %3 : f32
      } -> tensor<640x1000xf32>
      kernel.yield %r : tensor<640x1000xf32>
    }
    func.return %y : tensor<640x1000xf32>
  }
}
// CHECK:      func.func private @k0
// CHECK-SAME: nv.grid = array<i64: 80, 1, 1>, nv.block = 256 : i64, nv.shared_bytes = 32256 : i64
// CHECK:      "gpu.thread_id"() <{dimension = #gpu<dim x>}>
// CHECK:      %[[MAX:.*]] = scf.for
// CHECK:      nv.load
// CHECK:      arith.maximumf
// CHECK:      nv.shuffle_xor %[[MAX]], 16 : f32
// CHECK:      nv.shared {{.*}} : memref<1000xf32, "shared">
// CHECK:      math.exp
// CHECK:      nv.store
// CHECK:      nv.sync_warp
// CHECK:      arith.divf
// CHECK:      func.call @k0
