// RUN: lamina opt %s -p 'kernel-to-linalg,bufferize{target=sm_90a_wgmma},linalg-to-gpu{target=sm_90a_wgmma}' | filecheck %s
// The attention of gpu_chain.mlir on warpgroups: one has the copy engine bring tiles, one (there are few rows) multiplies 64 rows.
builtin.module {
  func.func @main(%q: tensor<8x256x64xbf16>, %k: tensor<8x256x64xbf16>, %v: tensor<8x256x64xbf16>) -> tensor<8x256x64xbf16> {
    %kw = kernel.fused(%k) : (tensor<8x256x64xbf16>) -> tensor<8x256x64xf32> {
    ^bb0(%a: tensor<8x256x64xbf16>):
      %0 = prim.cast %a {t = f32, kernel.stage} : (tensor<8x256x64xbf16>) -> tensor<8x256x64xf32>
      kernel.yield %0 : tensor<8x256x64xf32>
    }
    %vw = kernel.fused(%v) : (tensor<8x256x64xbf16>) -> tensor<8x256x64xf32> {
    ^bb0(%a: tensor<8x256x64xbf16>):
      %0 = prim.cast %a {t = f32, kernel.stage} : (tensor<8x256x64xbf16>) -> tensor<8x256x64xf32>
      kernel.yield %0 : tensor<8x256x64xf32>
    }
    %qw = kernel.fused(%q) : (tensor<8x256x64xbf16>) -> tensor<8x256x64xf32> {
    ^bb0(%a: tensor<8x256x64xbf16>):
      %0 = prim.cast %a {t = f32} : (tensor<8x256x64xbf16>) -> tensor<8x256x64xf32>
      %1 = prim.full {shape = array<i64: 8, 256, 64>, value = 1.250000e-01 : f64, t = f32} : () -> tensor<8x256x64xf32>
      %2 = prim.mul %0, %1 {kernel.stage} : (tensor<8x256x64xf32>, tensor<8x256x64xf32>) -> tensor<8x256x64xf32>
      kernel.yield %2 : tensor<8x256x64xf32>
    }
    %s = kernel.fused(%qw, %kw) {origin = "net.py:7"} : (tensor<8x256x64xf32>, tensor<8x256x64xf32>) -> tensor<8x256x256xf32> {
    ^bb0(%a: tensor<8x256x64xf32>, %b: tensor<8x256x64xf32>):
      %0 = prim.permute %b {order = array<i64: 0, 2, 1>} : (tensor<8x256x64xf32>) -> tensor<8x64x256xf32>
      %1 = prim.matmul %a, %0 : (tensor<8x256x64xf32>, tensor<8x64x256xf32>) -> tensor<8x256x256xf32>
      %2 = prim.iota {shape = array<i64: 8, 256, 256>, axis = 1 : i64, t = i64} : () -> tensor<8x256x256xi64>
      %3 = prim.iota {shape = array<i64: 8, 256, 256>, axis = 2 : i64, t = i64} : () -> tensor<8x256x256xi64>
      %4 = prim.less_equal %3, %2 : (tensor<8x256x256xi64>, tensor<8x256x256xi64>) -> tensor<8x256x256xi1>
      %5 = prim.full {shape = array<i64: 8, 256, 256>, value = 0xfff0000000000000 : f64, t = f32} : () -> tensor<8x256x256xf32>
      %6 = prim.select %4, %1, %5 {kernel.stage} : (tensor<8x256x256xi1>, tensor<8x256x256xf32>, tensor<8x256x256xf32>) -> tensor<8x256x256xf32>
      kernel.yield %6 : tensor<8x256x256xf32>
    }
    %p = kernel.fused(%s) {origin = "net.py:8"} : (tensor<8x256x256xf32>) -> tensor<8x256x256xf32> {
    ^bb0(%a: tensor<8x256x256xf32>):
      %0 = prim.max %a {axes = array<i64: 2>} : (tensor<8x256x256xf32>) -> tensor<8x256x1xf32>
      %1 = prim.expand %0 {to = array<i64: 8, 256, 256>} : (tensor<8x256x1xf32>) -> tensor<8x256x256xf32>
      %2 = prim.sub %a, %1 : (tensor<8x256x256xf32>, tensor<8x256x256xf32>) -> tensor<8x256x256xf32>
      %3 = prim.exp %2 {kernel.stage} : (tensor<8x256x256xf32>) -> tensor<8x256x256xf32>
      %4 = prim.sum %3 {axes = array<i64: 2>} : (tensor<8x256x256xf32>) -> tensor<8x256x1xf32>
      %5 = prim.expand %4 {to = array<i64: 8, 256, 256>} : (tensor<8x256x1xf32>) -> tensor<8x256x256xf32>
      %6 = prim.div %3, %5 {kernel.stage} : (tensor<8x256x256xf32>, tensor<8x256x256xf32>) -> tensor<8x256x256xf32>
      kernel.yield %6 : tensor<8x256x256xf32>
    }
    %o = kernel.fused(%p, %vw) {origin = "net.py:9"} : (tensor<8x256x256xf32>, tensor<8x256x64xf32>) -> tensor<8x256x64xbf16> {
    ^bb0(%a: tensor<8x256x256xf32>, %b: tensor<8x256x64xf32>):
      %0 = prim.matmul %a, %b : (tensor<8x256x256xf32>, tensor<8x256x64xf32>) -> tensor<8x256x64xf32>
      %1 = prim.cast %0 {t = bf16, kernel.stage} : (tensor<8x256x64xf32>) -> tensor<8x256x64xbf16>
      kernel.yield %1 : tensor<8x256x64xbf16>
    }
    func.return %o : tensor<8x256x64xbf16>
  }
}
// CHECK:        func.func private @k
// CHECK-SAME:   nv.grid = array<i64: 32, 1, 1>, nv.block = 256 : i64
// CHECK-DAG:    nv.tensor_map {{.*}} sizes [64, 256, 8] strides [64, 16384] box [64, 64, 1] :
// CHECK-DAG:    nv.tensor_map {{.*}} sizes [64, 256, 8] strides [64, 16384] box [64, 128, 1] :
// CHECK:        nv.mbarrier_init
// CHECK:        "gpu.barrier"
// The copying thread: the rows once, then tiles of columns, as far as the mask lets them matter.
// CHECK:        nv.mbarrier_expect {{.*}}, 8192
// CHECK:        nv.tma_load
// CHECK:        arith.minsi
// CHECK:        scf.for
// CHECK:        nv.mbarrier_wait
// CHECK:        nv.mbarrier_expect {{.*}}, 16384
// CHECK-COUNT-2: nv.tma_load
// CHECK:        } else {
// CHECK:        nv.mbarrier_wait
// The first tile's matrix.
// CHECK:        nv.mbarrier_wait
// CHECK:        nv.wgmma_fence
// CHECK:        nv.wgmma {{.*}} "bf16" "bf16" fresh : memref<64xf32, "registers">
// CHECK-COUNT-3: nv.wgmma %products
// CHECK:        nv.wgmma_commit
// CHECK:        nv.wgmma_wait 0, %products : memref<64xf32, "registers">
// CHECK:        nv.mbarrier_arrive
// Elements while the sums over the tile before are under way, then the next tile's matrix, then the sums over this one.
// Only a tile that reaches beyond the mask is compared with it, in its registers.
// CHECK:        scf.for
// CHECK:        arith.cmpi slt
// CHECK:        scf.if
// CHECK:        arith.select
// CHECK-NEXT:   memref.store {{.*}}, %products
// CHECK:        nv.shuffle_xor {{.*}}, 1 : f32
// CHECK:        nv.exp2
// CHECK:        nv.hold %weights
// CHECK:        nv.mbarrier_wait
// CHECK:        nv.wgmma_wait 0, %sums, %p : memref<32xf32, "registers">, memref<32xi32, "registers">
// CHECK:        nv.mbarrier_arrive
// CHECK:        nv.pack
// CHECK:        nv.mbarrier_wait
// CHECK:        nv.wgmma {{.*}} "bf16" "bf16" fresh : memref<64xf32, "registers">
// CHECK:        nv.wgmma_fence
// CHECK:        nv.matrix_descriptor {{.*}} leading 16384
// CHECK:        nv.wgmma_registers %sums, {{.*}} turned "bf16" : memref<32xf32, "registers">, memref<32xi32, "registers">
// CHECK:        nv.wgmma_wait 1, %products : memref<64xf32, "registers">
// CHECK:        nv.mbarrier_arrive
// CHECK:        nv.wgmma_wait 0, %sums : memref<32xf32, "registers">
// CHECK:        nv.store
// CHECK-NOT:    func.func private
