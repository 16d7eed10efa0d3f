// A kernel of several stages that share their outer parallel dim (the row): max, exp, sum, divide.
// exp(x - max) is a stage of its own because it costs more than a load; the rows of %ex live only inside the kernel.
builtin.module {
  func.func @main(%x: tensor<64x1000xf32>) -> tensor<64x1000xf32> {
    %y = kernel.fused(%x) : (tensor<64x1000xf32>) -> tensor<64x1000xf32> {
    ^bb0(%a: tensor<64x1000xf32>):
      %lowest = arith.constant 0xFF800000 : f32
      %zero = arith.constant 0.000000e+00 : f32
      %e0 = tensor.empty() : tensor<64x1xf32>
      %f0 = linalg.fill ins(%lowest : f32) outs(%e0 : tensor<64x1xf32>) -> tensor<64x1xf32>
      %max = linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, 0)>], iterator_types = ["parallel", "reduction"]} ins(%a : tensor<64x1000xf32>) outs(%f0 : tensor<64x1xf32>) {
      ^bb1(%0: f32, %acc: f32):
        %1 = arith.maximumf %acc, %0 : f32
        linalg.yield %1 : f32
      } -> tensor<64x1xf32>
      %e1 = tensor.empty() : tensor<64x1000xf32>
      %ex = linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, 0)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]} ins(%a, %max : tensor<64x1000xf32>, tensor<64x1xf32>) outs(%e1 : tensor<64x1000xf32>) {
      ^bb1(%0: f32, %1: f32, %2: f32):
        %3 = arith.subf %0, %1 : f32
        %4 = math.exp %3 : f32
        linalg.yield %4 : f32
      } -> tensor<64x1000xf32>
      %e2 = tensor.empty() : tensor<64x1xf32>
      %f2 = linalg.fill ins(%zero : f32) outs(%e2 : tensor<64x1xf32>) -> tensor<64x1xf32>
      %sum = linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, 0)>], iterator_types = ["parallel", "reduction"]} ins(%ex : tensor<64x1000xf32>) outs(%f2 : tensor<64x1xf32>) {
      ^bb1(%0: f32, %acc: f32):
        %1 = arith.addf %acc, %0 : f32
        linalg.yield %1 : f32
      } -> tensor<64x1xf32>
      %e3 = tensor.empty() : tensor<64x1000xf32>
      %r = linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, 0)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]} ins(%ex, %sum : tensor<64x1000xf32>, tensor<64x1xf32>) outs(%e3 : tensor<64x1000xf32>) {
      ^bb1(%0: f32, %1: f32, %2: f32):
        %3 = arith.divf %0, %1 : f32
        linalg.yield %3 : f32
      } -> tensor<64x1000xf32>
      kernel.yield %r : tensor<64x1000xf32>
    }
    func.return %y : tensor<64x1000xf32>
  }
}
