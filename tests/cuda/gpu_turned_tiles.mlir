// RUN: lamina opt %s -p 'linalg-to-gpu{target=sm_90a_wgmma_tf32}' | filecheck %s
// The gradient by a weight in TF32: both operands lie along their rows. The right one's blocks of 32 by 32 are turned where they were brought, before
// wgmma reads them; the left one is read into registers.
builtin.module {
  func.func private @k0(%x: memref<128x256xf32>, %w: memref<128x256xf32>, %y: memref<256x256xf32>) attributes {lamina.inputs = 2 : i64, lamina.outputs = 1 : i64} {
    %zero = arith.constant 0.000000e+00 : f32
    linalg.fill ins(%zero : f32) outs(%y : memref<256x256xf32>)
    linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d2, d0)>, affine_map<(d0, d1, d2) -> (d2, d1)>, affine_map<(d0, d1, d2) -> (d0, d1)>], iterator_types = ["parallel", "parallel", "reduction"]} ins(%x, %w : memref<128x256xf32>, memref<128x256xf32>) outs(%y : memref<256x256xf32>) {
    ^bb0(%a: f32, %b: f32, %c: f32):
      %p = arith.mulf %a, %b : f32
      %s = arith.addf %c, %p : f32
      linalg.yield %s : f32
    }
    func.return
  }
  func.func @main(%x: memref<128x256xf32>, %w: memref<128x256xf32>, %y: memref<256x256xf32>, %arena: memref<0xi8>) {
    func.call @k0(%x, %w, %y) {origin = "net.py:3"} : (memref<128x256xf32>, memref<128x256xf32>, memref<256x256xf32>) -> ()
    func.return
  }
}
// CHECK:      nv.block = 384 : i64
// CHECK-DAG:  nv.tensor_map %x offset 0 sizes [256, 128] strides [256] box [32, 32] tf32
// CHECK-DAG:  nv.tensor_map %w offset 0 sizes [256, 128] strides [256] box [32, 32] tf32
// Four stages are full, free, and turned by three warps.
// CHECK:      nv.mbarrier_init %{{.*}}, 3 : memref
// CHECK:      nv.set_registers 72
// CHECK:      nv.mbarrier_expect {{.*}}, 32768
// CHECK-COUNT-8: nv.tma_load
// CHECK:      nv.mbarrier_wait
// CHECK-COUNT-4: nv.load
// CHECK:      nv.sync_warp
// CHECK-COUNT-4: nv.store
// CHECK:      nv.fence_async
// CHECK-NEXT: nv.sync_warp
// CHECK:      nv.mbarrier_arrive
// CHECK:      nv.set_registers more 216
// Products wait for both operands, and for the ones before, whose registers they take; every warp gives a stage back.
// CHECK-COUNT-2: nv.mbarrier_wait
// CHECK:      nv.wgmma_wait
// CHECK:      nv.mbarrier_arrive
// CHECK-COUNT-16: arith.bitcast
// CHECK:      nv.wgmma_fence
// CHECK-COUNT-4: nv.wgmma_registers %sums, %a[{{.*}} "tf32" : memref<64xf32, "registers">
