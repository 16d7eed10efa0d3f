// A contraction with its epilogue. x[n, g, c, h, w] is already padded, k[g, o, c, u, v]; g = 1 has no loop dim.
// Loop dims: the parallel ones in the order of the contraction's result (n, o, i, j), then the reductions (c, u, v).
// The epilogue reads the contraction's result at its own index (identity map, up to dims of size 1), adds the bias,
// applies relu and stores channels-last.
builtin.module {
  func.func @main(%x: tensor<8x1x16x16x16xf32>, %k: tensor<1x32x16x3x3xf32>, %bias: tensor<32xf32>) -> tensor<8x32x14x14xf32> {
    %y = kernel.fused(%x, %k, %bias) {layouts = [array<i64: 0, 2, 3, 1>]} : (tensor<8x1x16x16x16xf32>, tensor<1x32x16x3x3xf32>, tensor<32xf32>) -> tensor<8x32x14x14xf32> {
    ^bb0(%a: tensor<8x1x16x16x16xf32>, %b: tensor<1x32x16x3x3xf32>, %c: tensor<32xf32>):
      %zero = arith.constant 0.000000e+00 : f32
      %e0 = tensor.empty() : tensor<8x1x32x14x14xf32>
      %f0 = linalg.fill ins(%zero : f32) outs(%e0 : tensor<8x1x32x14x14xf32>) -> tensor<8x1x32x14x14xf32>
      %s = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, 0, d4, d2 + d5, d3 + d6)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (0, d1, d4, d5, d6)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, 0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction", "reduction"]} ins(%a, %b : tensor<8x1x16x16x16xf32>, tensor<1x32x16x3x3xf32>) outs(%f0 : tensor<8x1x32x14x14xf32>) {
      ^bb1(%0: f32, %1: f32, %acc: f32):
        %2 = arith.mulf %0, %1 : f32
        %3 = arith.addf %acc, %2 : f32
        linalg.yield %3 : f32
      } -> tensor<8x1x32x14x14xf32>
      %e1 = tensor.empty() : tensor<8x32x14x14xf32>
      %r = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, 0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d1)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%s, %c : tensor<8x1x32x14x14xf32>, tensor<32xf32>) outs(%e1 : tensor<8x32x14x14xf32>) {
      ^bb1(%0: f32, %1: f32, %2: f32):
        %3 = arith.addf %0, %1 : f32
        %z = arith.constant 0.000000e+00 : f32
        %4 = arith.maximumf %3, %z : f32
        linalg.yield %4 : f32
      } -> tensor<8x32x14x14xf32>
      kernel.yield %r : tensor<8x32x14x14xf32>
    }
    func.return %y : tensor<8x32x14x14xf32>
  }
}
