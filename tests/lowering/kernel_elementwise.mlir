// One stage, elementwise: y = relu(x * scale + shift), scale and shift broadcast along dims 0, 2, 3.
// The broadcast operands are read through maps with a constant 0 where their size is 1. Loop dims never have size 1.
// The result is stored with dim 1 (channels) innermost.
builtin.module {
  func.func @main(%x: tensor<8x16x6x6xf32>, %scale: tensor<1x16x1x1xf32>, %shift: tensor<1x16x1x1xf32>) -> tensor<8x16x6x6xf32> {
    %y = kernel.fused(%x, %scale, %shift) {layouts = [array<i64: 0, 2, 3, 1>], origin = "net.py:4"} : (tensor<8x16x6x6xf32>, tensor<1x16x1x1xf32>, tensor<1x16x1x1xf32>) -> tensor<8x16x6x6xf32> {
    ^bb0(%a: tensor<8x16x6x6xf32>, %b: tensor<1x16x1x1xf32>, %c: tensor<1x16x1x1xf32>):
      %e = tensor.empty() : tensor<8x16x6x6xf32>
      %r = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (0, d1, 0, 0)>, affine_map<(d0, d1, d2, d3) -> (0, d1, 0, 0)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%a, %b, %c : tensor<8x16x6x6xf32>, tensor<1x16x1x1xf32>, tensor<1x16x1x1xf32>) outs(%e : tensor<8x16x6x6xf32>) attrs = {origin = "net.py:4"} {
      ^bb1(%0: f32, %1: f32, %2: f32, %3: f32):
        %4 = arith.mulf %0, %1 : f32
        %5 = arith.addf %4, %2 : f32
        %zero = arith.constant 0.000000e+00 : f32
        %6 = arith.maximumf %5, %zero : f32
        linalg.yield %6 : f32
      } -> tensor<8x16x6x6xf32>
      kernel.yield %r : tensor<8x16x6x6xf32>
    }
    func.return %y : tensor<8x16x6x6xf32>
  }
}
