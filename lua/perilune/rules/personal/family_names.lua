--- Family names of many countries, for the personal-data rule.
--
-- Only names that are no common words: `Baker` or `Young` count anyway when a given name stands
-- before them. A family name alone is not masked; it makes a name of the capitalised
-- word before it, and of itself after an honorific.

local names = {}

for word in ([[
Abbott Abdi Abe Abernathy Abiola Abrams Achterberg Acosta Adair Adams Addison Adebayo Adeleke
Adeyemi Adkins Aguilar Aguirre Ahlberg Aitken Akhtar Akinola Aldridge Alexandrov Alfaro Allen
Almeida Alonso Alvarado Alvarez Amadi Amari Andersen Anderson Andersson Andrade Andrews Antonov
Aoki Appiah Aquino Arai Archer Arellano Armstrong Arnold Arora Asante Ashcroft Atkins Atkinson
Awad Ayala Aydin Bachmann Bailey Baldwin Ballard Banerjee Barbieri Barker Barlow Barnes Barnett
Barrera Barrett Barrios Barros Bartlett Barton Basu Batista Bauer Baumann Baumgartner Baxter
Becker Beckett Begum Behrens Bellini Beltran Benitez Bennett Benson Berg Berger Bergmann Bergström
Bernardi Bertrand Bhatt Bhattacharya Bianchi Blackburn Blackwell Blackwood Blanchard Blum Boateng
Boone Borges Bosch Bose Boucher Bowen Bowers Bowman Boyd Boyle Bradshaw Brady Brandt Brankovic
Braun Brennan Brewer Briggs Brooks Browning Bruno Bryant Buchanan Burke Burnett Burns Burton Byrne
Caballero Cabrera Calderon Caldwell Callahan Calloway Camacho Cameron Campbell Cardenas Carey
Carlson Carlsson Carmichael Carpenter Carrillo Carroll Carvalho Castaneda Castellano Castillo
Castro Cattaneo Cervantes Chaudhary Chaudhry Chavez Choi Chopra Choudhury Christensen Chukwu
Clarke Clayton Cohen Coleman Collins Colombo Connolly Conti Contreras Conway Cooke Copeland
Corbett Cordero Cordova Correa Cortes Cortez Costa Coulter Cowan Crawford Crosby Cruz Cummings
Cunningham Curry Czarnecki Dahl Daly Daniels Danso Davenport Davidson Davies Davila Davis Davison
Dawson Deleon Delgado Demir Desai Deshmukh Devi Diallo Diaz Dickson Dietrich Dimitrov Diop Dixon
Dobson Doherty Dominguez Donaldson Donnelly Donovan Duarte Dubois Dufour Dumont Duncan Dunmore
Dunn Dupont Duran Durand Durham Dutta Eastwood Eberhardt Edwards Ellington Elliott Ellis Ellsworth
Emerson Engel Erdogan Eriksen Eriksson Escobar Espinosa Espinoza Esposito Estrada Evans Everett
Faber Farrell Faulkner Fernandes Fernandez Ferrari Ferreira Fiedler Figueroa Finch Fischer
Fitzgerald Fitzpatrick Flanagan Fleming Fletcher Flores Flynn Foley Fontaine Forster Foster
Fournier Fowler Franco Franke Frazier Freeman Friedman Friedrich Fuchs Fuentes Fujimoto Fujita
Fuller Gallagher Gallego Gallo Galloway Garcia García Gardner Garner Garrison Garza Gauthier
Gebhardt Georgiou Gerber Ghosh Gibbs Gibson Giordano Girard Goldberg Goldman Goldstein Gomes Gomez
Gonzales Gonzalez González Goodman Goodwin Gordon Graf Graves Greco Greenberg Greene Griffith
Gruber Guerra Guerrero Gunther Gupta Gustafsson Gutierrez Guzman Haas Hahn Hale Halloran Hamilton
Hancock Hansen Hansson Harding Harmon Harrington Harris Harrison Hartmann Harvey Hashimoto Hassan
Hathaway Hawkins Hayashi Hayes Haynes Hebert Heinrich Helmholtz Henderson Hendrickson Henriksen
Hensley Herman Hernandez Hernández Herrera Herrmann Hess Hewitt Hickman Hicks Higgins Hoang Hobbs
Hodges Hoffman Hoffmann Hofmann Hogan Holden Holland Holloway Holm Holmes Holt Hopkins Horakova
Horton Horvath Houghton Howard Howell Hubbard Huber Hudson Huerta Huff Huffman Hughes Humphrey
Hussain Hutchinson Huynh Hyland Ibarra Ibrahimovic Iglesias Ikeda Inoue Ismail Ito Ivanov Ivanova
Iwu Iyer Jackson Jacobs Jacobsen Jacobson Jain Jakobsen James Jansen Janssen Jansson Jarvis
Jefferson Jenkins Jennings Jensen Jha Jimenez Jiménez Johansen Johansson Johns Johnson Johnston
Jokinen Jones Jorgensen Joseph Joshi Joyce Juarez Kaiser Kamara Kaminski Kang Kaplan Kapoor
Karlsson Kaur Kavanagh Kaya Kaye Keita Keller Kelley Kemp Kennedy Khan Khanna Kimura Kingsley
Kirby Kirk Kjeldsen Klein Knapp Knox Kobayashi Koch Koenig Kone Konrad Korhonen Kovac Kovalenko
Kovács Kowalczyk Kowalska Kowalski Kozlov Kramer Krause Kristensen Kruse Krüger Kuhn Kulkarni
Kumar Kuznetsov Köhler Lam Lambert Lang Lange Larsen Larson Larsson Laurent Lawson Leblanc Leclerc
Lefebvre Lehmann Lehtonen Leon Leroux Levy Lewandowski Lewis Lindberg Lindgren Lindholm Lindqvist
Lindsey Liu Lombardi Lopes Lopez Lorenz Lozano Lucero Luna Lund Lundberg Lundqvist Luong Lutz
Lynch Lyons López Macdonald Macias Mackay Mackenzie Maclean Madsen Mahmood Maier Majewski
Maldonado Malhotra Malik Mancini Mann Marchetti Mariani Marin Marino Markovic Marques Marquez
Martel Martens Martin Martinelli Martinez Martins Martínez Matsumoto Matthews Maxwell Mayer Mbeki
McCarthy McDonald Mcallister Mcbride Mccall Mccann Mccarthy Mcclure Mcconnell Mccormick Mccoy
Mccullough Mcdaniel Mcdonald Mcdowell Mcfarland Mcgee Mcgrath Mcguire Mcintosh Mcintyre Mckay
Mckee Mckenna Mckenzie Mckinney Mcknight Mclaughlin Mclean Mcleod Mcmahon Mcmillan Mcneil
Mcpherson Medina Mehta Meier Mejia Melendez Melo Mendes Mendez Mendoza Menon Mensah Mercado
Mercier Messina Meyer Meyers Mikkelsen Miller Mills Miranda Mishra Mitchell Miyazaki Moeller
Mohamud Molina Monteiro Montgomery Montoya Mooney Mora Morales Moran Moreau Moreira Moreno Moretti
Mori Morozov Morozova Morris Morrison Morrow Morton Moser Moss Mueller Mukherjee Mullins Munoz
Murillo Murphy Murray Muñoz Mwangi Myers Möller Müller Naidoo Nair Nakagawa Nakamura Nandi Navarro
Ndiaye Neal Neumann Newman Newton Nguyen Nicholls Nichols Nicholson Nielsen Nieminen Nieto Nikolic
Nilsen Nilsson Nkosi Nolan Novak Nováková Nowak Nunes Nunez Nwosu O'Brien O'Connor O'Donnell
O'Neill O'Reilly O'Sullivan Obi Obrien Ochoa Oconnor Ogawa Ogden Okafor Okeke Okonkwo Okoye
Oliveira Oliver Olsen Olson Olsson Omondi Ong Onyango Orlov Orozco Orr Ortega Ortiz Osborne Osei
Otieno Ouedraogo Owens Owusu Pacheco Padilla Palmer Papadopoulos Pappas Parsons Patel Patil
Patterson Patton Paulsen Pavlov Payne Pearce Pearson Pedersen Pellegrini Pena Pereira Perez
Perkins Perrin Petersen Peterson Petit Petrov Petrova Petrovic Pettersson Peña Phan Phelps
Phillips Pichler Pietrzak Pinto Pires Pitts Pohl Popescu Popov Popova Porras Powell Powers Prieto
Pritchard Pruitt Pugh Pérez Quintero Quiroga Rahman Ramirez Ramos Ramsey Randall Rao Rasmussen
Ratcliffe Reddy Reeves Rehman Reilly Reinhardt Renner Restrepo Reyes Reynolds Rhodes Ribeiro Ricci
Richard Richards Richardson Richter Riedel Rinaldi Rios Rivas Rivera Rizzo Roberts Robertson
Robinson Robson Rocha Roche Rodrigues Rodriguez Rodríguez Rogers Rojas Romano Romero Rosales
Rosario Rosen Rosenberg Rossi Roth Rousseau Roux Rowe Rowland Rubio Ruiz Russo Rutherford Ryan
Sahin Saito Salas Salazar Salinas Salvatore Samuels Sanchez Sanders Sandoval Sanford Santiago
Santos Sanz Sato Saunders Sawicki Schaefer Scherer Schiller Schmid Schmidt Schmitt Schmitz
Schneider Scholz Schreiber Schroeder Schröder Schubert Schulte Schultz Schulz Schulze Schumacher
Schuster Schwartz Schwarz Schäfer Seidel Serrano Sesay Shaffer Shah Shapiro Sharma Shaw Shea
Shelton Shepherd Sheridan Shevchenko Shimizu Siddiqui Sidorov Sierra Silva Simmons Simons Simpson
Sinclair Singh Singleton Skinner Smirnov Smirnova Smith Soares Sokolov Solis Solomon Sorensen Sosa
Soto Sousa Souza Spencer Stafford Stanton Stark Steele Stein Steiner Stephens Stephenson Stevens
Stevenson Stewart Stokes Strickland Suarez Sullivan Summers Sundaram Sutherland Sutton Svensson
Swanson Sweeney Szabo Szczepański Szymanski Sánchez Sørensen Takahashi Tanaka Tapia Tavares Taylor
Terry Thakur Theisen Thibault Thompson Thomsen Thomson Thornton Tkachenko Todorov Torres Townsend
Tran Tremblay Trevino Trujillo Tsang Tucker Tyson Uddin Underwood Unger Uribe Usman Valdez
Valencia Valentini Vance Varga Vargas Vasquez Vaughan Vega Velasco Velasquez Venter Vera Verma
Vidal Villanueva Villarreal Virtanen Vitale Vogel Vogt Volkov Voss Vuong Wagner Walczak Wallace
Walsh Walters Walton Wang Watanabe Watkins Watts Weaver Webb Weber Webster Weiss Wells Werner
Weston Whitaker Whitcombe Whitehead Whitfield Whitney Wiggins Wilcox Wilkins Wilkinson Williams
Williamson Willis Wilson Winkler Winters Wolfe Wong Woodard Woods Woodward Wozniak Wright Wu Wyatt
Wójcik Xu Yadav Yamada Yamaguchi Yamamoto Yamashita Yang Yates Yilmaz Yoder Yoon York Yoshida
Yıldız Zamora Zapata Zhang Zhao Zheng Zhou Zhu Ziegler Zielinski Zimmerman Zimmermann Zuniga
Öztürk
]]):gmatch("%S+") do
  names[word] = true
end

return names
