// RUN: lamina opt %s -p 'kernel-to-linalg,bufferize{target=sm_90a_wgmma}' | filecheck %s
// RUN: lamina opt %s -p 'kernel-to-linalg,bufferize{target=sm_90a_wgmma},linalg-to-gpu{target=sm_90a_wgmma}' | filecheck %s --check-prefix=GPU
// Attention and its gradients: the forward kernel keeps one number per row, the maximum and the logarithm of the sum; the backward kernel
// folds nothing, and its weights are exponentials of distances from that number.
builtin.module {
  func.func @main(%0: tensor<8x256x64xbf16>, %1: tensor<8x256x64xbf16>, %2: tensor<8x256x64xbf16>, %g: tensor<8x256x64xbf16>)
      -> (tensor<8x256x64xbf16>, tensor<8x256x64xbf16>, tensor<8x256x64xbf16>) {
    %3 = kernel.fused(%1) : (tensor<8x256x64xbf16>) -> tensor<8x256x64xf32> {
    ^bb0(%4: tensor<8x256x64xbf16>):
      %5 = prim.cast %4 {t = f32, kernel.stage} : (tensor<8x256x64xbf16>) -> tensor<8x256x64xf32>
      kernel.yield %5 : tensor<8x256x64xf32>
    }
    %4 = kernel.fused(%2) : (tensor<8x256x64xbf16>) -> tensor<8x256x64xf32> {
    ^bb0(%5: tensor<8x256x64xbf16>):
      %6 = prim.cast %5 {t = f32, kernel.stage} : (tensor<8x256x64xbf16>) -> tensor<8x256x64xf32>
      kernel.yield %6 : tensor<8x256x64xf32>
    }
    %5 = kernel.fused(%0) : (tensor<8x256x64xbf16>) -> tensor<8x256x64xf32> {
    ^bb0(%6: tensor<8x256x64xbf16>):
      %7 = prim.cast %6 {t = f32} : (tensor<8x256x64xbf16>) -> tensor<8x256x64xf32>
      %8 = prim.full {shape = array<i64: 8, 256, 64>, value = 1.250000e-01 : f64, t = f32} : () -> tensor<8x256x64xf32>
      %9 = prim.mul %7, %8 {kernel.stage} : (tensor<8x256x64xf32>, tensor<8x256x64xf32>) -> tensor<8x256x64xf32>
      kernel.yield %9 : tensor<8x256x64xf32>
    }
    %6 = kernel.fused(%3, %5) : (tensor<8x256x64xf32>, tensor<8x256x64xf32>) -> tensor<8x256x256xf32> {
    ^bb0(%7: tensor<8x256x64xf32>, %8: tensor<8x256x64xf32>):
      %9 = prim.permute %7 {order = array<i64: 0, 2, 1>} : (tensor<8x256x64xf32>) -> tensor<8x64x256xf32>
      %10 = prim.matmul %8, %9 : (tensor<8x256x64xf32>, tensor<8x64x256xf32>) -> tensor<8x256x256xf32>
      %11 = prim.iota {shape = array<i64: 256, 256>, axis = 0 : i64, t = i64} : () -> tensor<256x256xi64>
      %12 = prim.iota {shape = array<i64: 256, 256>, axis = 1 : i64, t = i64} : () -> tensor<256x256xi64>
      %13 = prim.less_equal %12, %11 : (tensor<256x256xi64>, tensor<256x256xi64>) -> tensor<256x256xi1>
      %14 = prim.reshape %13 {to = array<i64: 1, 256, 256>} : (tensor<256x256xi1>) -> tensor<1x256x256xi1>
      %15 = prim.expand %14 {to = array<i64: 8, 256, 256>} : (tensor<1x256x256xi1>) -> tensor<8x256x256xi1>
      %16 = prim.full {shape = array<i64: 8, 256, 256>, value = 0xfff0000000000000 : f64, t = f32} : () -> tensor<8x256x256xf32>
      %17 = prim.select %15, %10, %16 {kernel.stage} : (tensor<8x256x256xi1>, tensor<8x256x256xf32>, tensor<8x256x256xf32>) -> tensor<8x256x256xf32>
      kernel.yield %17 : tensor<8x256x256xf32>
    }
    %7 = kernel.fused(%6) : (tensor<8x256x256xf32>) -> tensor<8x256x256xf32> {
    ^bb0(%8: tensor<8x256x256xf32>):
      %9 = prim.max %8 {axes = array<i64: 2>} : (tensor<8x256x256xf32>) -> tensor<8x256x1xf32>
      %10 = prim.expand %9 {to = array<i64: 8, 256, 256>} : (tensor<8x256x1xf32>) -> tensor<8x256x256xf32>
      %11 = prim.sub %8, %10 : (tensor<8x256x256xf32>, tensor<8x256x256xf32>) -> tensor<8x256x256xf32>
      %12 = prim.exp %11 {kernel.stage} : (tensor<8x256x256xf32>) -> tensor<8x256x256xf32>
      %13 = prim.sum %12 {axes = array<i64: 2>} : (tensor<8x256x256xf32>) -> tensor<8x256x1xf32>
      %14 = prim.expand %13 {to = array<i64: 8, 256, 256>} : (tensor<8x256x1xf32>) -> tensor<8x256x256xf32>
      %15 = prim.div %12, %14 {kernel.stage} : (tensor<8x256x256xf32>, tensor<8x256x256xf32>) -> tensor<8x256x256xf32>
      kernel.yield %15 : tensor<8x256x256xf32>
    }
    %8 = kernel.fused(%7, %4) : (tensor<8x256x256xf32>, tensor<8x256x64xf32>) -> tensor<8x256x64xbf16> {
    ^bb0(%10: tensor<8x256x256xf32>, %11: tensor<8x256x64xf32>):
      %12 = prim.matmul %10, %11 : (tensor<8x256x256xf32>, tensor<8x256x64xf32>) -> tensor<8x256x64xf32>
      %13 = prim.cast %12 {t = bf16, kernel.stage} : (tensor<8x256x64xf32>) -> tensor<8x256x64xbf16>
      kernel.yield %13 : tensor<8x256x64xbf16>
    }
    %9 = kernel.fused(%g) : (tensor<8x256x64xbf16>) -> tensor<8x256x64xf32> {
    ^bb0(%11: tensor<8x256x64xbf16>):
      %12 = prim.cast %11 {t = f32, kernel.stage} : (tensor<8x256x64xbf16>) -> tensor<8x256x64xf32>
      kernel.yield %12 : tensor<8x256x64xf32>
    }
    %10 = kernel.fused(%8, %g) : (tensor<8x256x64xbf16>, tensor<8x256x64xbf16>) -> tensor<8x256x1xf32> {
    ^bb0(%11: tensor<8x256x64xbf16>, %12: tensor<8x256x64xbf16>):
      %13 = prim.cast %11 {t = f32} : (tensor<8x256x64xbf16>) -> tensor<8x256x64xf32>
      %14 = prim.cast %12 {t = f32} : (tensor<8x256x64xbf16>) -> tensor<8x256x64xf32>
      %15 = prim.mul %14, %13 : (tensor<8x256x64xf32>, tensor<8x256x64xf32>) -> tensor<8x256x64xf32>
      %16 = prim.sum %15 {axes = array<i64: 2>} : (tensor<8x256x64xf32>) -> tensor<8x256x1xf32>
      kernel.yield %16 : tensor<8x256x1xf32>
    }
    %11 = kernel.fused(%4, %9, %10, %7) : (tensor<8x256x64xf32>, tensor<8x256x64xf32>, tensor<8x256x1xf32>, tensor<8x256x256xf32>) -> tensor<8x256x256xf32> {
    ^bb0(%12: tensor<8x256x64xf32>, %13: tensor<8x256x64xf32>, %14: tensor<8x256x1xf32>, %15: tensor<8x256x256xf32>):
      %16 = prim.iota {shape = array<i64: 256, 256>, axis = 0 : i64, t = i64} : () -> tensor<256x256xi64>
      %17 = prim.iota {shape = array<i64: 256, 256>, axis = 1 : i64, t = i64} : () -> tensor<256x256xi64>
      %18 = prim.less_equal %17, %16 : (tensor<256x256xi64>, tensor<256x256xi64>) -> tensor<256x256xi1>
      %19 = prim.reshape %18 {to = array<i64: 1, 256, 256>} : (tensor<256x256xi1>) -> tensor<1x256x256xi1>
      %20 = prim.expand %19 {to = array<i64: 8, 256, 256>} : (tensor<1x256x256xi1>) -> tensor<8x256x256xi1>
      %21 = prim.permute %12 {order = array<i64: 0, 2, 1>} : (tensor<8x256x64xf32>) -> tensor<8x64x256xf32>
      %22 = prim.matmul %13, %21 : (tensor<8x256x64xf32>, tensor<8x64x256xf32>) -> tensor<8x256x256xf32>
      %23 = prim.expand %14 {to = array<i64: 8, 256, 256>} : (tensor<8x256x1xf32>) -> tensor<8x256x256xf32>
      %24 = prim.sub %22, %23 : (tensor<8x256x256xf32>, tensor<8x256x256xf32>) -> tensor<8x256x256xf32>
      %25 = prim.mul %15, %24 : (tensor<8x256x256xf32>, tensor<8x256x256xf32>) -> tensor<8x256x256xf32>
      %26 = prim.full {shape = array<i64: 8, 256, 256>, value = 0 : i64, t = f32} : () -> tensor<8x256x256xf32>
      %27 = prim.select %20, %25, %26 {kernel.stage} : (tensor<8x256x256xi1>, tensor<8x256x256xf32>, tensor<8x256x256xf32>) -> tensor<8x256x256xf32>
      kernel.yield %27 : tensor<8x256x256xf32>
    }
    %12 = kernel.fused(%5, %11) : (tensor<8x256x64xf32>, tensor<8x256x256xf32>) -> tensor<8x64x256xf32> {
    ^bb0(%13: tensor<8x256x64xf32>, %14: tensor<8x256x256xf32>):
      %15 = prim.permute %13 {order = array<i64: 0, 2, 1>} : (tensor<8x256x64xf32>) -> tensor<8x64x256xf32>
      %16 = prim.matmul %15, %14 : (tensor<8x64x256xf32>, tensor<8x256x256xf32>) -> tensor<8x64x256xf32>
      kernel.yield %16 : tensor<8x64x256xf32>
    }
    %13 = kernel.fused(%7, %9) : (tensor<8x256x256xf32>, tensor<8x256x64xf32>) -> tensor<8x256x64xbf16> {
    ^bb0(%14: tensor<8x256x256xf32>, %15: tensor<8x256x64xf32>):
      %16 = prim.permute %14 {order = array<i64: 0, 2, 1>} : (tensor<8x256x256xf32>) -> tensor<8x256x256xf32>
      %17 = prim.matmul %16, %15 : (tensor<8x256x256xf32>, tensor<8x256x64xf32>) -> tensor<8x256x64xf32>
      %18 = prim.cast %17 {t = bf16, kernel.stage} : (tensor<8x256x64xf32>) -> tensor<8x256x64xbf16>
      kernel.yield %18 : tensor<8x256x64xbf16>
    }
    %14 = kernel.fused(%12) : (tensor<8x64x256xf32>) -> tensor<8x256x64xbf16> {
    ^bb0(%15: tensor<8x64x256xf32>):
      %16 = prim.permute %15 {order = array<i64: 0, 2, 1>} : (tensor<8x64x256xf32>) -> tensor<8x256x64xf32>
      %17 = prim.cast %16 {t = bf16, kernel.stage} : (tensor<8x256x64xf32>) -> tensor<8x256x64xbf16>
      kernel.yield %17 : tensor<8x256x64xbf16>
    }
    %15 = kernel.fused(%11, %3) : (tensor<8x256x256xf32>, tensor<8x256x64xf32>) -> tensor<8x256x64xbf16> {
    ^bb0(%16: tensor<8x256x256xf32>, %17: tensor<8x256x64xf32>):
      %18 = prim.full {shape = array<i64: 8, 256, 64>, value = 1.250000e-01 : f64, t = f32} : () -> tensor<8x256x64xf32>
      %19 = prim.matmul %16, %17 : (tensor<8x256x256xf32>, tensor<8x256x64xf32>) -> tensor<8x256x64xf32>
      %20 = prim.mul %19, %18 : (tensor<8x256x64xf32>, tensor<8x256x64xf32>) -> tensor<8x256x64xf32>
      %21 = prim.cast %20 {t = bf16, kernel.stage} : (tensor<8x256x64xf32>) -> tensor<8x256x64xbf16>
      kernel.yield %21 : tensor<8x256x64xbf16>
    }
    func.return %15, %14, %13 : tensor<8x256x64xbf16>, tensor<8x256x64xbf16>, tensor<8x256x64xbf16>
  }
}
// The forward kernel.
// CHECK:      arith.maximumf
// CHECK:      math.exp
// CHECK:      arith.divf
// CHECK:      math.log
// CHECK-NEXT: arith.addf
// CHECK:      func.return
// The backward kernel.
// CHECK:      func.func private
// CHECK-NOT:  arith.maximumf
// CHECK:      arith.subf
// CHECK-NEXT: math.exp
// CHECK-NOT:  arith.divf
// CHECK:      func.func @main
// Rows of result and gradient; the forward sweep, whose lanes share what they fold; rows, which sum 1 product; columns, which sum 2.
// GPU:        func.func private
// GPU:        nv.shuffle_xor
// GPU:        func.func private
// GPU:        nv.shuffle_xor
// GPU:        func.func private @k{{[0-9]+}}_0
// GPU-NOT:    nv.shuffle_xor
// GPU:        nv.exp2
// GPU-COUNT-1: nv.wgmma_registers %sums
// GPU:        func.func private @k{{[0-9]+}}_1
// GPU-NOT:    nv.shuffle_xor
// GPU:        nv.exp2
// GPU:        nv.wgmma_registers %sums
// GPU:        func.func @main
