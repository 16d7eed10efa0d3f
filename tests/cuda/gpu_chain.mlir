// RUN: lamina opt %s -p 'kernel-to-linalg,bufferize{target=sm_90a}' | filecheck %s --check-prefix=MERGED
// RUN: lamina opt %s -p 'kernel-to-linalg,bufferize{target=sm_90a},linalg-to-gpu{target=sm_90a}' | filecheck %s
// Causal attention in bf16: five kernels become one, the casts are made again inside it, and no matrix is in memory.
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
// MERGED:       lamina.arena_bytes = 0
// MERGED-COUNT-1: func.func private
// MERGED-SAME:  memref<8x256x64xbf16>
// MERGED:       memref.alloca() : memref<8x256x256xf32>
// MERGED:       func.func @main
// MERGED:       func.call {{.*}} : (memref<8x256x64xbf16>, memref<8x256x64xbf16>, memref<8x256x64xbf16>, memref<8x256x64xbf16>) -> ()
// MERGED-NEXT:  func.return

// A block has 64 rows of one of 8 problems; operands come as they are. The mask is applied to the sums, the scale with
// what is taken from them (one multiply-add in front of an exponential).
// CHECK:        func.func private @k
// CHECK-SAME:   nv.grid = array<i64: 32, 1, 1>, nv.block = 128 : i64
// CHECK-NOT:    memref.alloca() : memref<8x
// CHECK:        nv.cp_async {{.*}} : memref<131072xbf16> to memref<4608xbf16, "shared">
// CHECK:        arith.minsi
// CHECK:        scf.for
// CHECK:        nv.cp_async_wait 0
// CHECK:        "gpu.barrier"
// CHECK:        nv.ldmatrix
// CHECK:        nv.mma_sync
// CHECK-NOT:    arith.mulf
// CHECK:        arith.cmpi sle
// CHECK-NOT:    arith.mulf
// CHECK:        arith.maximumf
// CHECK:        nv.shuffle_xor {{.*}}, 1 : f32
// CHECK:        nv.shuffle_xor {{.*}}, 2 : f32
// CHECK:        math.fma
// CHECK-NEXT:   nv.exp2
// CHECK:        math.fma
// CHECK-NEXT:   nv.exp2
// CHECK:        nv.pack {{.*}} bf16
// CHECK:        nv.ldmatrix {{.*}} {transposed}
// CHECK:        nv.mma_sync
// CHECK:        nv.shuffle_xor
// CHECK:        nv.store {{.*}} : bf16, bf16 to memref<131072xbf16>
// CHECK-NOT:    func.func private
