// RUN: lamina opt %s -p 'linalg-to-gpu{target=sm_90a_wgmma}' | filecheck %s
// A product whose second operand lies along its columns: three warpgroups, tiles brought by the copy engine.
builtin.module {
  func.func private @k0(%x: memref<256x448xbf16>, %w: memref<448x256xbf16>, %y: memref<256x256xbf16>) attributes {lamina.inputs = 2 : i64, lamina.outputs = 1 : i64} {
    %zero = arith.constant 0.000000e+00 : f32
    %t = memref.alloca() : memref<256x256xf32>
    linalg.fill ins(%zero : f32) outs(%t : memref<256x256xf32>)
    linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d2, d1)>, affine_map<(d0, d1, d2) -> (d0, d1)>], iterator_types = ["parallel", "parallel", "reduction"]} ins(%x, %w : memref<256x448xbf16>, memref<448x256xbf16>) outs(%t : memref<256x256xf32>) {
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
  func.func @main(%x: memref<256x448xbf16>, %w: memref<448x256xbf16>, %y: memref<256x256xbf16>, %arena: memref<0xi8>) {
    func.call @k0(%x, %w, %y) {origin = "net.py:3"} : (memref<256x448xbf16>, memref<448x256xbf16>, memref<256x256xbf16>) -> ()
    func.return
  }
}
// CHECK:      nv.block = 384 : i64
// CHECK-DAG:  nv.tensor_map %x offset 0 sizes [448, 256] strides [448] box [64, 128]
// CHECK-DAG:  nv.tensor_map %w offset 0 sizes [256, 448] strides [256] box [64, 64]
// CHECK-DAG:  nv.tensor_map %y offset 0 sizes [256, 256] strides [256] box [64, 64]
// CHECK:      nv.mbarrier_init
// CHECK:      nv.fence_barrier_init
// CHECK:      "gpu.barrier"
// CHECK:      nv.set_registers 40
// CHECK:      nv.mbarrier_wait
// CHECK:      nv.mbarrier_expect {{.*}}, 32768
// CHECK-COUNT-3: nv.tma_load
// CHECK:      } else {
// CHECK:      nv.set_registers more 232
// CHECK:      nv.mbarrier_wait
// CHECK:      nv.wgmma_fence
// CHECK:      nv.matrix_descriptor {{.*}} leading 16 :
// CHECK:      nv.matrix_descriptor {{.*}} leading 8192 :
// CHECK:      nv.wgmma %sums, {{.*}} turned "bf16" "bf16" : memref<64xf32, "registers">
// CHECK:      nv.wgmma_commit
// CHECK-NEXT: nv.wgmma_wait 1
// CHECK:      nv.mbarrier_arrive
// CHECK:      nv.wgmma_wait 0
// Results leave in two blocks of 64 columns, through a buffer each.
// CHECK:      nv.tma_store_wait 1
// CHECK:      nv.group_barrier
// CHECK:      nv.pack {{.*}} bf16
// CHECK:      arith.xori
// CHECK:      nv.stmatrix
// CHECK:      nv.fence_async
// CHECK-NEXT: nv.group_barrier
// CHECK:      nv.tma_store %{{.*}} to %
// CHECK-NEXT: nv.tma_store_commit
// CHECK:      nv.tma_store_wait 1
// CHECK:      nv.tma_store %
// CHECK-NOT:  memref.store %{{.*}} memref<65536xbf16>
// CHECK:      nv.tma_store_wait 0
