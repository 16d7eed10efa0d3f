// RUN: lamina opt %s -p 'linalg-to-gpu{target=sm_90a_wgmma}' | filecheck %s
// Two blocks with the same rows are a cluster: each brings half of their tile of the first operand to both.
builtin.module {
  func.func private @k0(%x: memref<256x512xbf16>, %w: memref<512x256xbf16>, %y: memref<256x256xbf16>) attributes {lamina.inputs = 2 : i64, lamina.outputs = 1 : i64} {
    %zero = arith.constant 0.000000e+00 : f32
    %t = memref.alloca() : memref<256x256xf32>
    linalg.fill ins(%zero : f32) outs(%t : memref<256x256xf32>)
    linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d2, d1)>, affine_map<(d0, d1, d2) -> (d0, d1)>], iterator_types = ["parallel", "parallel", "reduction"]} ins(%x, %w : memref<256x512xbf16>, memref<512x256xbf16>) outs(%t : memref<256x256xf32>) {
    ^bb0(%a: bf16, %b: bf16, %c: f32):
      %aw = arith.extf %a : bf16 to f32
      %bw = arith.extf %b : bf16 to f32
      %p = arith.mulf %aw, %bw : f32
      %s = arith.addf %c, %p : f32
      linalg.yield %s : f32
    }
    linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]} ins(%t : memref<256x256xf32>) outs(%y : memref<256x256xbf16>) {
    ^bb0(%a: f32, %b: bf16):
      %r = arith.truncf %a : f32 to bf16
      linalg.yield %r : bf16
    }
    func.return
  }
  func.func @main(%x: memref<256x512xbf16>, %w: memref<512x256xbf16>, %y: memref<256x256xbf16>, %arena: memref<0xi8>) {
    func.call @k0(%x, %w, %y) {origin = "net.py:3"} : (memref<256x512xbf16>, memref<512x256xbf16>, memref<256x256xbf16>) -> ()
    func.return
  }
}
// CHECK:      nv.block = 384 : i64
// CHECK-SAME: nv.cluster = 2 : i64
// A stage is free when four warpgroups have multiplied it.
// CHECK:      nv.mbarrier_init %{{.*}}, 1 : memref
// CHECK:      nv.mbarrier_init %{{.*}}, 4 : memref
// CHECK:      nv.fence_barrier_init
// CHECK:      nv.cluster_barrier
// CHECK:      nv.mbarrier_wait {{.*}} cluster :
// CHECK:      nv.mbarrier_expect {{.*}}, 32768
// CHECK:      nv.tma_load {{.*}} cluster 3 :
// CHECK-NOT:  cluster
// CHECK-COUNT-2: nv.tma_load
// CHECK-NOT:  nv.tma_load
// CHECK:      nv.wgmma_wait 1
// CHECK:      nv.mbarrier_arrive %
// CHECK:      nv.mbarrier_arrive_at {{.*}} of %
// CHECK:      nv.tma_store_wait 0
// CHECK:      nv.cluster_barrier
// CHECK-NEXT: func.return
