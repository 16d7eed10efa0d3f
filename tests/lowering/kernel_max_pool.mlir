// A window fold. No operand carries the window dims d4, d5 alone, so a tensor.empty of their shape is read (its block
// argument is unused), as in MLIR's pooling ops. It has no memory: bufferize drops it once loop sizes are known.
builtin.module {
  func.func @main(%x: tensor<8x16x14x14xf32>) -> tensor<8x16x7x7x1x1xf32> {
    %y = kernel.fused(%x) {layouts = [array<i64: 0, 2, 3, 4, 5, 1>]} : (tensor<8x16x14x14xf32>) -> tensor<8x16x7x7x1x1xf32> {
    ^bb0(%a: tensor<8x16x14x14xf32>):
      %lowest = arith.constant 0xFF800000 : f32
      %e = tensor.empty() : tensor<8x16x7x7x1x1xf32>
      %f = linalg.fill ins(%lowest : f32) outs(%e : tensor<8x16x7x7x1x1xf32>) -> tensor<8x16x7x7x1x1xf32>
      %w = tensor.empty() : tensor<2x2xf32>
      %r = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, d1, d2 * 2 + d4, d3 * 2 + d5)>, affine_map<(d0, d1, d2, d3, d4, d5) -> (d4, d5)>, affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, d1, d2, d3, 0, 0)>], iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction"]} ins(%a, %w : tensor<8x16x14x14xf32>, tensor<2x2xf32>) outs(%f : tensor<8x16x7x7x1x1xf32>) {
      ^bb1(%0: f32, %1: f32, %acc: f32):
        %2 = arith.maximumf %acc, %0 : f32
        linalg.yield %2 : f32
      } -> tensor<8x16x7x7x1x1xf32>
      kernel.yield %r : tensor<8x16x7x7x1x1xf32>
    }
    func.return %y : tensor<8x16x7x7x1x1xf32>
  }
}
